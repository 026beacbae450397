"""Row layouts, and how one is told: by the keys of a row, and for a data set by its first rows."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from backprop.plan.data.described import kind_name


class Layout(enum.Enum):
    """Every layout that is recognised."""

    OPENAI = "openai"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    COMPLETION = "completion"
    CHATML = "chatml"
    RAW = "raw"
    PREFERENCE = "preference"
    KTO = "kto"

    # Members are single objects; the hash of enum.Enum is a Python function, and tables are asked several times a row.
    __hash__ = object.__hash__


JUDGED = {
    Layout.PREFERENCE: "preference pairs (chosen, rejected)",
    Layout.KTO: "rated completions (prompt, completion, label)",
}
"""Layouts whose answers are judged, by what a row of them holds; the others hold one answer to learn."""

OUTPUT_KEYS = ("output", "response")
COMPLETION_KEYS = ("completion", "response")
"""Names of the answer beside an instruction, and beside a prompt; the first that a row has is read."""

PROMPT_KEYS = ("prompt", "question", "instruction")
"""Names of what the two answers of a preference answer; the first that a row has is read."""

ROWS_TO_TELL = 20
"""Rows at the start of a data set that its layout is told from."""

CHATML_START = "<|im_start|>"


@attrs.frozen
class Detection:
    """What the first rows say of a data set's layout."""

    layout: Layout | None
    """That of most of the rows, the earlier one where two are as many; None when no row is in a known layout."""
    confidence: float
    """The share of the rows looked at that are in it."""
    counts: tuple[tuple[Layout, int], ...]
    """Every layout found with its rows, most first."""
    num_rows: int
    """Rows looked at."""


def detect_layout(rows: Iterable[Any], *, text_column: str) -> Detection:
    """Tell the layout of a data set from some of its rows."""
    told = [layout_of(row, text_column=text_column) for row in rows]
    counts = tuple(Counter(layout for layout in told if layout is not None).most_common())
    layout, most = counts[0] if counts else (None, 0)
    return Detection(layout, most / len(told) if told else 0.0, counts, len(told))


def layout_of(row: Any, *, text_column: str) -> Layout | None:
    """The layout whose keys the row has, or None."""
    if isinstance(row, str):
        row = {text_column: row}
    if not isinstance(row, Mapping):
        return None
    return next((layout for layout, fits in _TELLS if fits(row, text_column)), None)


def other_layout(row: Any, layout: Layout, *, text_column: str) -> Layout | None:
    """The layout that a row is in instead of ``layout``; None when it is in it, or in none, or lacks a part of it."""
    found = layout_of(row, text_column=text_column)
    return None if found in (None, layout, _PART_OF.get(layout)) else found


def describe_keys(row: Any) -> str:
    """The row's keys for a message, or what it is instead of an object."""
    if not isinstance(row, Mapping):
        return kind_name(row)
    return "no keys" if not row else "the keys " + ", ".join(sorted(map(str, row))[:8])


def _has(row: Mapping[str, Any], *keys: str) -> bool:
    return all(row.get(key) is not None for key in keys)


def _text_in(row: Mapping[str, Any], column: str) -> bool:
    return isinstance(row.get(column), str)


_TELLS: tuple[tuple[Layout, Callable[[Mapping[str, Any], str], bool]], ...] = (
    (Layout.PREFERENCE, lambda row, _: _has(row, "chosen", "rejected")),
    (Layout.KTO, lambda row, _: _has(row, "prompt", "completion", "label")),
    (Layout.OPENAI, lambda row, _: _has(row, "messages")),
    (Layout.SHAREGPT, lambda row, _: _has(row, "conversations") or _has(row, "conversation")),
    (Layout.ALPACA, lambda row, _: _has(row, "instruction") and any(key in row for key in OUTPUT_KEYS)),
    (Layout.COMPLETION, lambda row, _: _has(row, "prompt") and any(key in row for key in COMPLETION_KEYS)),
    (Layout.CHATML, lambda row, column: _text_in(row, column) and CHATML_START in row[column]),
    (Layout.RAW, _text_in),
)

_PART_OF = {Layout.KTO: Layout.COMPLETION, Layout.CHATML: Layout.RAW}
"""What a row of a layout looks like when it lacks what tells the layout."""
