"""A run made longer is what it would have been at that length."""

from __future__ import annotations

from typing import Any

import pytest

from backprop.plan.runs.extension import extend_plan
from backprop.plan.settings.resolve import Origins
from backprop.plan.training.plan import TrainPlan
from tests.plan.training.worlds import dataset, planned, settings, world

FACTS = world(heldout=dataset())


def extended(training: dict[str, Any], *, steps: int) -> TrainPlan:
    asked = settings(training=training)
    return extend_plan(planned(asked, FACTS), asked.training, steps=steps, origins=Origins())


def test_ten_steps_extended_to_five_thousand_do_not_save_and_evaluate_as_a_short_run_does() -> None:
    plan = extended({"max_steps": 10}, steps=5000)
    assert plan.length.steps.value == 5000
    assert plan.checkpoints.every.value == 100
    assert plan.evaluation is not None
    assert plan.evaluation.every.value == 500
    assert plan.learning_rate.warmup_steps.value == 10


@pytest.mark.parametrize(("steps", "said"), [(20, "Shortened from 30;"), (40, "Extended from 30;")])
def test_the_plan_says_whether_it_became_longer_or_shorter(steps: int, said: str) -> None:
    assert extended({"max_steps": 30}, steps=steps).length.steps.why.startswith(said)


@pytest.mark.parametrize("training", [{}, {"warmup_ratio": 0.1}, {"save_steps": 7, "eval_every": 3}])
def test_the_extension_is_the_plan_of_a_run_of_that_length(training: dict[str, Any]) -> None:
    longer = extended({"max_steps": 30, **training}, steps=400)
    whole = planned(settings(training={"max_steps": 400, **training}), FACTS)
    assert longer.length.tokens == whole.length.tokens
    assert (longer.learning_rate, longer.evaluation, longer.checkpoints) == (
        whole.learning_rate,
        whole.evaluation,
        whole.checkpoints,
    )


def test_the_same_length_is_the_same_plan() -> None:
    asked = settings(training={"max_steps": 30})
    plan = planned(asked, FACTS)
    assert extend_plan(plan, asked.training, steps=30, origins=Origins()) is plan
