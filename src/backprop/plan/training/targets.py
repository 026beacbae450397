"""Whether the data teaches what it should: judgements over what the scan counted."""

from __future__ import annotations

from collections.abc import Iterator

from backprop.plan.data.check import CHECKS
from backprop.plan.decision import Problem, Severity, warning
from backprop.plan.facts.dataset import DatasetFacts, RowCount, TokenFacts
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.data import DataSettings

TRUNCATED_REFUSED_SHARE = 0.1
"""Above this share of cut rows the data and the sequence length do not belong together."""


def check_targets(
    data: DatasetFacts, settings: DataSettings, *, sequence_length: int, objective: Objective = Objective.SFT
) -> tuple[Problem, ...]:
    """Every way in which the rows would silently train wrongly, each with its number and its remedy."""
    tokens = data.tokens
    if tokens is None:
        return ()
    rows = readable_rows(data)
    return (
        *_traces(data, settings),
        *(_empty(tokens, rows, data.name) if rows or data.traces is None else ()),
        *_everything(tokens, rows, settings),
        *_truncated(tokens, rows, settings, sequence_length, objective),
        *_lost(tokens, rows, settings),
        *_unended(tokens, rows),
        *_faults(data, rows),
    )


def readable_rows(data: DatasetFacts) -> int:
    """Rows of which shares are taken."""
    return data.rows - data.num_broken - (data.traces.left_out if data.traces else 0)


def truncated_share(num_cut: int, rows: int) -> float:
    """The share of the rows that lose their end; ``rows`` are all that can be read, those without a target too."""
    return num_cut / max(1, rows)


def _traces(data: DatasetFacts, settings: DataSettings) -> Iterator[Problem]:
    """What is left out for the sake of good reasoning traces."""
    if data.traces is None or not data.traces.left_out:
        return
    traces = data.traces
    reasons = (
        (traces.empty, f"with no trace of at least {settings.min_trace_tokens} tokens"),
        (traces.too_long, f"with one of more than {settings.max_trace_tokens:,} tokens"),
        (traces.unbalanced, "with <think> and </think> that do not pair up"),
    )
    found = "; ".join(f"{count.rows:,} {what} ({count.example})" for count, what in reasons if count.rows)
    if not traces.kept:
        message = f"No row of {data.name} has a good reasoning trace: {found}."
        hint = "Leave out --reasoning-trace, or set --min-trace-tokens and --max-trace-tokens to what the rows have."
        yield Problem("INPUT_TARGETS_EMPTY", message, where="--reasoning-trace", hint=hint)
        return
    message = f"{traces.left_out:,} of {traces.left_out + traces.kept:,} rows are left out: {found}."
    hint = "Without --reasoning-trace they are learned, too."
    yield warning("INPUT_TARGETS_EMPTY", message, where="--reasoning-trace", hint=hint)


def _faults(data: DatasetFacts, rows: int) -> Iterator[Problem]:
    """What `backprop validate` finds in rows that are trained on as they are."""
    for fault in data.faults:
        entry = CHECKS[fault.check]
        meaning = entry.meaning[0].lower() + entry.meaning[1:]
        kind = "an error" if entry.severity is Severity.ERROR else "a fault"
        message = f"{_share(fault.rows, rows)} are trained on with {kind} ({fault.check.value}): {meaning}"
        hint = f"{entry.fix} `backprop validate` names every such row."
        yield warning("INPUT_DATASET_VALIDATION_FAILED", message, where=fault.rows.example, hint=hint)


def _share(count: RowCount, rows: int) -> str:
    return f"{count.rows:,} of {rows:,} rows ({count.rows / max(1, rows):.1%})"


def _empty(tokens: TokenFacts, rows: int, name: str) -> Iterator[Problem]:
    if tokens.supervised_tokens == 0:
        yield Problem("INPUT_TARGETS_EMPTY", f"No token of {name} would be learned: 0 % of its tokens are targets.")
    elif tokens.without_target.rows:
        yield warning(
            "INPUT_TARGETS_EMPTY",
            f"{_share(tokens.without_target, rows)} have nothing to learn and are left out.",
            where=tokens.without_target.example,
            hint="They have no assistant turn, or it begins after the sequence length.",
        )


def _everything(tokens: TokenFacts, rows: int, settings: DataSettings) -> Iterator[Problem]:
    if settings.train_on_prompt or not tokens.fully_supervised.rows:
        return
    message = f"{_share(tokens.fully_supervised, rows)} would be learned whole, prompts included."
    where = tokens.fully_supervised.example
    if tokens.fully_supervised.rows == tokens.sequences:
        yield Problem("INPUT_TARGETS_EVERYTHING", message, where=where)
    else:
        yield warning("INPUT_TARGETS_EVERYTHING", message, where=where, hint="They have an answer but no prompt.")


def _truncated(
    tokens: TokenFacts, rows: int, settings: DataSettings, sequence_length: int, objective: Objective
) -> Iterator[Problem]:
    cut = tokens.truncated
    if not cut.rows:
        return
    is_cut = objective is Objective.SFT
    consequence = "lose their end" if is_cut else "are left out, since a cut answer is not the one that was judged"
    otherwise = "cuts them" if is_cut else "trains on the others"
    message = (
        f"{_share(cut, rows)} are longer than {sequence_length:,} tokens and {consequence}; "
        f"the longest has {tokens.longest_uncut:,}, 99 % have at most {tokens.uncut_p99:,}."
    )
    hint = f"Pass --max-seq-length {tokens.uncut_p99} to keep 99 % whole, or {tokens.longest_uncut} to keep all"
    if truncated_share(cut.rows, rows) > TRUNCATED_REFUSED_SHARE and not settings.allow_truncation:
        yield Problem(
            "INPUT_TARGETS_TRUNCATED",
            message,
            where=cut.example,
            hint=f"{hint}; --allow-truncation {otherwise}.",
        )
    else:
        yield warning("INPUT_TARGETS_TRUNCATED", message, where=cut.example, hint=f"{hint}.")


def _lost(tokens: TokenFacts, rows: int, settings: DataSettings) -> Iterator[Problem]:
    lost = tokens.lost_targets
    if lost.rows:
        message = f"In {_share(lost, rows)} the chat template drops text that should be learned."
        if settings.allow_lost_targets:
            yield warning("INPUT_TARGETS_LOST", message, where=lost.example)
        else:
            yield Problem("INPUT_TARGETS_LOST", message, where=lost.example)
    unplaced = tokens.unplaced_targets
    if unplaced.rows:
        yield Problem(
            "INPUT_TARGETS_LOST",
            f"In {_share(unplaced, rows)} an assistant turn cannot be found in the rendered text.",
            where=unplaced.example,
        )


def _unended(tokens: TokenFacts, rows: int) -> Iterator[Problem]:
    if tokens.unended_targets.rows:
        yield Problem(
            "INPUT_TARGETS_UNENDED",
            f"In {_share(tokens.unended_targets, rows)} no token ends the assistant's turn: "
            "the model would not learn to stop.",
            where=tokens.unended_targets.example,
        )
