"""Flags on data that change nothing without another one, or with it."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from backprop.plan.decision import Problem, warning
from backprop.plan.settings.resolve import Origins, Source


class Lack(enum.Enum):
    """What a call does without."""

    MODEL = "model"
    HELD_OUT = "held-out rows"
    SIMILARITY = "similarity"
    SPLITS = "splits"


@attrs.frozen
class Idleness:
    """What is said of flags that a lack makes idle."""

    reason: str
    hint: str
    flags: Mapping[str, str]
    """By the key that the flag sets."""


_IDLE: Mapping[Lack, Idleness] = {
    Lack.MODEL: Idleness(
        "without --model",
        "Pass --model.",
        {
            "data.chat_template": "--chat-template",
            "data.train_on_prompt": "--train-on-prompt",
            "max_seq_length": "--max-seq-length",
        },
    ),
    Lack.HELD_OUT: Idleness(
        "without --against",
        "Pass --against FILE, the held-out rows.",
        {"fail_on_contamination": "--fail-on-contamination"},
    ),
    Lack.SIMILARITY: Idleness(
        "with --exact-only: similar rows are not looked for",
        "Leave out one of them.",
        {"dup_threshold": "--dup-threshold"},
    ),
    Lack.SPLITS: Idleness(
        "for a file: only data sets on the Hub have splits", "Leave it out.", {"data.dataset_split": "--dataset-split"}
    ),
}
_ASKED_HERE = frozenset({Source.FLAG, Source.CALL})
"""Environment and configuration files speak to several commands, and some of what they say is for others."""


def idle_flags(origins: Origins, lacks: Mapping[Lack, bool]) -> tuple[Problem, ...]:
    """A warning for each flag that was given and changes nothing, in the order of the table."""
    return tuple(
        warning("CONFIG_INVALID_SETTING", f"{flag} changes nothing {idle.reason}.", where=flag, hint=idle.hint)
        for lack, idle in _IDLE.items()
        if lacks.get(lack, False)
        for key, flag in idle.flags.items()
        if (origin := origins.of(key)) is not None and origin.source in _ASKED_HERE
    )
