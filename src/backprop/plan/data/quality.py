"""Whether a data set is fit to train on: its rates against thresholds, and the gates that the user set.

Thresholds advise; only a gate, ``--strict`` or a data set without a usable row fails the command.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import attrs


class Verdict(enum.Enum):
    """From good to bad."""

    PASS = "PASS"
    WARN = "WARN"
    FAIL = "FAIL"


class Rate(enum.Enum):
    """What is judged, each a share of rows in [0, 1]."""

    DUPLICATES = "duplicates"
    """Rows that could go, of the parsed ones: all of a cluster but one."""
    CONTAMINATION = "contamination"
    """Parsed rows that also stand in the data set to keep apart from."""
    EMPTY = "empty"
    """Rows with a blank turn, without text or without an assistant's turn, of all rows."""
    OUTLIERS = "outliers"
    """Parsed rows of an extraordinary length."""
    INVALID = "invalid"
    """Rows that cannot be trained on as they are, of all rows."""


@attrs.frozen
class Threshold:
    """A rate above ``warn`` is worth a warning, one above ``fail`` more than that; None: never."""

    rate: Rate
    warn: float | None
    fail: float | None
    remedy: str


_FIX = (
    "Fix the rows that `backprop validate` names: training refuses those that it cannot use, and warns of the others."
)
THRESHOLDS: tuple[Threshold, ...] = (
    Threshold(Rate.DUPLICATES, 0.10, 0.25, "Remove them with `backprop data dedupe`."),
    Threshold(Rate.CONTAMINATION, None, 0.01, "Remove the rows that stand in both, or hold others out."),
    Threshold(Rate.EMPTY, 0.02, 0.05, "Write the missing turns, or remove the rows."),
    Threshold(Rate.OUTLIERS, 0.05, None, "Look at the longest and the shortest rows."),
    Threshold(Rate.INVALID, 0.0, None, _FIX),
)


@attrs.frozen
class Gates:
    """The limits that the user set; None for those left out."""

    fail_on_dups: float | None = None
    fail_on_contamination: float | None = None
    max_outlier_rate: float | None = None
    strict: bool = False


@attrs.frozen
class RateCheck:
    """One rate, and what was found of it."""

    rate: Rate
    value: float | None
    """None when it was not asked for."""
    verdict: Verdict | None
    """By the thresholds alone; None for what was not asked for."""
    limit: float | None
    """The threshold that was exceeded."""
    gate: float | None
    """The user's own limit."""
    gate_tripped: bool
    remedy: str


@attrs.frozen
class Judgement:
    """The verdict with its reasons."""

    verdict: Verdict
    failed_thresholds: tuple[str, ...]
    """Why it is FAIL, one clause each, such as ``duplicates 0.3 > 0.1 (--fail-on-dups)``; empty otherwise."""
    rates: tuple[RateCheck, ...]
    tripped: bool
    """A gate or ``--strict`` fails the command."""


_GATES: Mapping[Rate, str] = {
    Rate.DUPLICATES: "--fail-on-dups",
    Rate.CONTAMINATION: "--fail-on-contamination",
    Rate.OUTLIERS: "--max-outlier-rate",
}
"""Rates that a gate may be set for."""


def share(count: int, whole: int) -> float:
    """``count / whole``; 0 of nothing."""
    return count / whole if whole else 0.0


def judge(rates: Mapping[Rate, float], gates: Gates, *, of_file: Sequence[str] = ()) -> Judgement:
    """The verdict over rates; one that is missing was not asked for. ``of_file`` are errors of all rows together.

    A gate that trips makes it FAIL, and so does ``strict`` of a WARN, which an error of the file is at least.
    """
    limits = {
        Rate.DUPLICATES: gates.fail_on_dups,
        Rate.CONTAMINATION: gates.fail_on_contamination,
        Rate.OUTLIERS: gates.max_outlier_rate,
    }
    checks = tuple(_check(threshold, rates.get(threshold.rate), limits.get(threshold.rate)) for threshold in THRESHOLDS)
    found = [check.verdict for check in checks if check.verdict is not None]
    worst = max((*found, Verdict.WARN if of_file else Verdict.PASS), key=list(Verdict).index)
    is_gated = any(check.gate_tripped for check in checks)
    is_strict = gates.strict and worst is not Verdict.PASS
    verdict = Verdict.FAIL if is_gated or is_strict else worst
    failed = [reason for check in checks for reason in _reasons(check, strict=gates.strict)]
    failed += [f"{fault} (--strict)" for fault in of_file if gates.strict]
    return Judgement(verdict, tuple(failed), checks, is_gated or is_strict)


def _check(threshold: Threshold, value: float | None, gate: float | None) -> RateCheck:
    if value is None:
        return RateCheck(threshold.rate, None, None, None, gate, False, threshold.remedy)
    verdict, limit = Verdict.PASS, None
    for level, bound in ((Verdict.WARN, threshold.warn), (Verdict.FAIL, threshold.fail)):
        if bound is not None and value > bound:
            verdict, limit = level, bound
    tripped = gate is not None and value > gate
    return RateCheck(threshold.rate, value, verdict, limit, gate, tripped, threshold.remedy)


def _reasons(check: RateCheck, *, strict: bool) -> list[str]:
    told = f"{check.rate.value} {check.value:.4g}" if check.value is not None else ""
    reasons = [f"{told} > {check.gate:g} ({_GATES[check.rate]})"] if check.gate_tripped else []
    if check.verdict is Verdict.FAIL or (strict and check.verdict is Verdict.WARN):
        reasons.append(f"{told} > {check.limit:g}" + ("" if check.verdict is Verdict.FAIL else " (--strict)"))
    return reasons
