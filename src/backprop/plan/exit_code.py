"""The only mapping from outcome to exit code."""

from __future__ import annotations

from collections.abc import Sequence

from backprop.plan.decision import Problem, errors_among
from backprop.plan.errors import CATALOGUE

SUCCESS = 0


def exit_code_for(problems: Sequence[Problem]) -> int:
    """0 when nothing stops the work, else what the first stopping problem's catalogue entry declares."""
    stopping = errors_among(problems)
    return CATALOGUE[stopping[0].code].exit_code if stopping else SUCCESS
