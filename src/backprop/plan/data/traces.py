"""Which rows of a data set of reasoning traces are kept: those whose every trace is whole and of a sensible length."""

from __future__ import annotations

import enum
from collections.abc import Callable

import attrs

from backprop.plan.data.check import Check
from backprop.plan.data.checks import check_example
from backprop.plan.data.conversation import Example
from backprop.plan.data.measure import traces_of, whole_text
from backprop.plan.facts.dataset import RowCount, TraceFacts


class TraceVerdict(enum.Enum):
    """What becomes of a row."""

    KEPT = "kept"
    EMPTY = "empty"
    """No trace, or one shorter than the least."""
    TOO_LONG = "too long"
    UNBALANCED = "unbalanced"
    """<think> and </think> do not pair up."""


@attrs.frozen
class TraceBand:
    """The lengths of traces that are learned, in tokens, both ends included."""

    at_least: int
    at_most: int


def judge_traces(example: Example, band: TraceBand, count_tokens: Callable[[str], int]) -> TraceVerdict:
    """The verdict on an example: of several traces the worst decides."""
    if any(fault.check is Check.UNBALANCED_THINK for fault in check_example(example)):
        return TraceVerdict.UNBALANCED
    lengths = [count_tokens(trace) for trace in traces_of(example, whole_text(example))]
    if not lengths or min(lengths) < band.at_least:
        return TraceVerdict.EMPTY
    return TraceVerdict.TOO_LONG if max(lengths) > band.at_most else TraceVerdict.KEPT


class TraceCounter:
    """Adds verdicts up."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(TraceVerdict, RowCount(0))

    def add(self, verdict: TraceVerdict, where: str) -> None:
        """Count a row that stands at ``where``."""
        count = self._counts[verdict]
        self._counts[verdict] = RowCount(count.rows + 1, count.example or where)

    def facts(self) -> TraceFacts:
        """The sums so far."""
        return TraceFacts(
            kept=self._counts[TraceVerdict.KEPT].rows,
            empty=self._counts[TraceVerdict.EMPTY],
            too_long=self._counts[TraceVerdict.TOO_LONG],
            unbalanced=self._counts[TraceVerdict.UNBALANCED],
        )
