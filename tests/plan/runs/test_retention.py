from __future__ import annotations

import pytest

from backprop.plan.runs.retention import plan_retention


@pytest.mark.parametrize(
    ("steps", "best_step", "keep", "removed"),
    [
        ((10, 20, 30), None, 2, (10,)),
        ((30, 10, 20), None, 1, (10, 20)),
        ((10, 20, 30), 10, 1, (20,)),
        ((10, 20, 30), 30, 2, (10,)),
        ((10, 20), None, 5, ()),
        ((), None, 1, ()),
    ],
)
def test_all_but_the_newest_and_the_best_go(
    steps: tuple[int, ...], best_step: int | None, keep: int, removed: tuple[int, ...]
) -> None:
    assert plan_retention(steps, best_step=best_step, keep=keep) == removed
