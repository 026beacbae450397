"""Which checkpoints go when a new one stands."""

from __future__ import annotations

from collections.abc import Iterable


def plan_retention(steps: Iterable[int], *, best_step: int | None, keep: int) -> tuple[int, ...]:
    """The steps whose checkpoints are removed, ascending: all but the newest ``keep`` and the best one."""
    assert keep >= 1, "a run keeps at least its newest checkpoint"
    ascending = sorted(set(steps))
    return tuple(step for step in ascending[:-keep] if step != best_step)
