"""Which models' rows share a sequence, and what is said where they may see one another."""

from __future__ import annotations

import attrs
import pytest

from backprop.plan.facts.model import ModelFacts
from backprop.plan.settings.resolve import Origins
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.plan import TrainPlan
from tests.plan.training.worlds import from_flags, planned, settings, world


def of_family(model_type: str) -> TrainFacts:
    facts = world()
    assert isinstance(facts.model, ModelFacts)
    return attrs.evolve(facts, model=attrs.evolve(facts.model, model_type=model_type))


def told(plan: TrainPlan) -> list[str]:
    return [problem.where for problem in plan.warnings if "keep the rows of one sequence apart" in problem.message]


@pytest.mark.parametrize(("family", "packs"), [("llama", True), ("cohere2", True), ("qwen3_5_text", False)])
def test_rows_are_packed_where_the_model_is_known_to_keep_them_apart(family: str, packs: bool) -> None:
    plan = planned(settings(), of_family(family))
    assert plan.batch.packing.value is packs
    assert (plan.batch.packed_length is not None) is packs
    assert plan.batch.packing.rule == ("default" if packs else "family qwen3_5_text")
    assert told(plan) == []


@pytest.mark.parametrize(("family", "warned"), [("llama", []), ("qwen3_5_text", ["--packing"])])
def test_who_asks_for_packing_gets_it_with_a_warning_where_rows_may_see_one_another(
    family: str, warned: list[str]
) -> None:
    plan = planned(settings(), of_family(family), from_flags(data__packing="--packing"))
    assert plan.batch.packing.value
    assert told(plan) == warned


def test_nothing_is_warned_of_where_packing_was_declined() -> None:
    plan = planned(settings(data={"packing": False}), of_family("qwen3_5_text"), Origins())
    assert not plan.batch.packing.value
    assert told(plan) == []
