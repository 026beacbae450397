"""Rows that can be written and trained on, and teach something wrong all the same: counted check by check."""

from __future__ import annotations

from backprop.plan.data.check import CHECKS, Check
from backprop.plan.data.checks import check_example
from backprop.plan.data.conversation import Example, Preference, Rated
from backprop.plan.decision import Severity
from backprop.plan.facts.dataset import FaultCount, RowCount

_TOLD_BY_TOKENS = frozenset({Check.NO_ASSISTANT})
"""Without an answer there is no target, which is counted where the tokens are, and the row is left out."""


class FaultCounter:
    """Adds up the errors of rows, each check once a row; of rows whose answers are judged blank questions as well.

    What an answer is better for is not known without the question, which then stands under a key that is not read.
    """

    def __init__(self) -> None:
        self._counts: dict[Check, RowCount] = {}

    def add(self, example: Example, where: str) -> None:
        """Judge a row that stands at ``where``."""
        failed = {fault.check for fault in check_example(example)}
        for check in failed - _TOLD_BY_TOKENS:
            if CHECKS[check].severity is Severity.ERROR or (check is Check.EMPTY_USER and _is_judged(example)):
                count = self._counts.get(check, RowCount(0, where))
                self._counts[check] = RowCount(count.rows + 1, count.example)

    def facts(self) -> tuple[FaultCount, ...]:
        """The sums so far, most first."""
        in_order = sorted(self._counts.items(), key=lambda item: (-item[1].rows, item[0].value))
        return tuple(FaultCount(check, count) for check, count in in_order)


def _is_judged(example: Example) -> bool:
    return isinstance(example, (Preference, Rated))
