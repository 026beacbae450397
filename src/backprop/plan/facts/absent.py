"""What stands in the place of a fact that could not be had."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Problem


@attrs.frozen
class Absent:
    """A probe that failed, with the reason as a problem that a planner may raise, soften or ignore."""

    problem: Problem
