"""Laws of plans that train by preference, and of the balance of KTO's weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from trl import SFTConfig

from backprop.effects.train import preference_loss
from backprop.plan.decision import Decision, Refused
from backprop.plan.errors import CATALOGUE
from backprop.plan.facts.dataset import DataFacts, Ratings
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.arguments import loss_arguments, sft_arguments
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.kto_balance import HIGHEST, LOWEST, MOST_RAISED, plan_balance
from backprop.plan.training.learning_rate import CLAMPS
from backprop.plan.training.plan import TrainPlan, plan_train
from backprop.plan.wire.converter import from_data, to_data
from property_tests.strategies.training import preference_settings, train_facts

LOSSES: Mapping[Objective, Callable[..., Any]] = {
    Objective.ORPO: preference_loss.orpo,
    Objective.SIMPO: preference_loss.simpo,
    Objective.KTO: preference_loss.kto,
}
OF_THE_BATCH = {"answers", "reference", "is_good", "divergence"}
SFT_FIELDS = inspect.signature(SFTConfig).parameters.keys()


@given(preference_settings(), train_facts(), st.booleans())
def test_a_plan_is_complete_or_refused_by_catalogued_problems(
    settings: TrainSettings, facts: TrainFacts, dry_run: bool
) -> None:
    settings = attrs.evolve(settings, dry_run=dry_run)
    plan = plan_train(settings, facts, origins=Origins())
    again = plan_train(settings, facts, origins=Origins())
    assert plan == again
    if isinstance(plan, Refused):
        assert plan.problems
        assert all(problem.code in CATALOGUE for problem in plan.problems)
        return
    method, asked = settings.training.method, settings.training
    assert settings.training.mode is TrainMode.LORA
    assert plan.adapter is not None
    assert from_data(to_data(plan), TrainPlan) == plan
    assert not plan.batch.packing.value
    assert plan.batch.micro_batch.value >= method.fewest_rows
    wanted = set(inspect.signature(LOSSES[method]).parameters) - OF_THE_BATCH
    assert loss_arguments(plan).keys() == wanted
    assert isinstance(again, TrainPlan)
    assert loss_arguments(plan) == loss_arguments(again)
    assert sft_arguments(plan, staging_dir="/tmp/x").keys() <= SFT_FIELDS
    rate, clamp = plan.learning_rate.peak.value, CLAMPS.get(method)
    assert clamp is None or rate < clamp.bound
    if asked.learning_rate is not None and (clamp is None or asked.learning_rate < clamp.bound):
        assert rate == asked.learning_rate


@given(preference_settings(), train_facts(), st.integers(0, 1000), st.booleans())
def test_labels_of_one_kind_never_train(settings: TrainSettings, facts: TrainFacts, count: int, good: bool) -> None:
    assert isinstance(facts.data, DataFacts)
    rated = Ratings(count, 0) if good else Ratings(0, count)
    data = attrs.evolve(facts.data, train=attrs.evolve(facts.data.train, ratings=rated))
    kto = attrs.evolve(settings, training=attrs.evolve(settings.training, method=Objective.KTO))
    assert isinstance(plan_train(kto, attrs.evolve(facts, data=data), origins=Origins()), Refused)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.integers(1, 10**6), st.integers(1, 10**6))
def test_at_most_one_weight_is_raised_and_the_ratio_gets_no_farther_from_the_band(
    desirable: float, undesirable: float, num_desirable: int, num_undesirable: int
) -> None:
    before = (Decision(desirable, "", ""), Decision(undesirable, "", ""))
    good, bad = plan_balance(*before, num_desirable=num_desirable, num_undesirable=num_undesirable)
    assert good.value >= desirable
    assert bad.value >= undesirable
    assert good.value == desirable or bad.value == undesirable
    assert good.value <= MOST_RAISED * desirable * (1 + 1e-9)
    assert bad.value <= MOST_RAISED * undesirable * (1 + 1e-9)
    ratio = desirable * num_desirable / (undesirable * num_undesirable)
    after = good.value * num_desirable / (bad.value * num_undesirable)
    assert distance(after) <= distance(ratio) * (1 + 1e-9)
    was_capped = max(good.value / desirable, bad.value / undesirable) >= MOST_RAISED * (1 - 1e-9)
    assert was_capped or LOWEST - 1e-6 <= after <= HIGHEST + 1e-6
    if not was_capped:
        assert plan_balance(good, bad, num_desirable=num_desirable, num_undesirable=num_undesirable) == (good, bad)


def distance(ratio: float) -> float:
    """By which factor a ratio is outside of the band, from 1."""
    return max(LOWEST / ratio, ratio / HIGHEST, 1.0)
