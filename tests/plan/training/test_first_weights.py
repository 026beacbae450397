"""What an adapter begins as, by its settings: scale, format of the frozen weights, cost, and what cannot be."""

from __future__ import annotations

import math

import attrs
import pytest

from backprop.plan.decision import Problem, Refused, errors_among
from backprop.plan.facts.model import ModelFacts
from backprop.plan.settings.lora import AdapterInit
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.adapter import AdapterPlan
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.plan import plan_train
from tests.plan.training.worlds import INSTALLED, card, from_flags, planned, settings, world

LOFTQ = {"init_lora_weights": AdapterInit.LOFTQ}
PISSA = {"init_lora_weights": AdapterInit.PISSA}


def adapter(wanted: TrainSettings, facts: TrainFacts | None = None) -> AdapterPlan:
    found = planned(wanted, facts or world()).adapter
    assert found is not None
    return found


def refusal(wanted: TrainSettings, facts: TrainFacts) -> Problem:
    plan = plan_train(wanted, facts, origins=Origins())
    assert isinstance(plan, Refused), plan
    (problem,) = errors_among(plan.problems)
    return problem


@pytest.mark.parametrize("rank", [1, 16, 256])
def test_a_rank_stabilized_adapter_has_the_presets_scale_at_every_rank(rank: int) -> None:
    found = adapter(settings(lora={"r": rank, "use_rslora": True}))
    assert found.alpha.value == pytest.approx(2 * math.sqrt(rank))
    assert found.scale == pytest.approx(2.0)


def test_an_alpha_that_is_given_is_divided_by_the_root_of_the_rank() -> None:
    assert adapter(settings(lora={"r": 16, "lora_alpha": 16.0, "use_rslora": True})).scale == 4.0


def test_loftq_holds_the_weights_in_4_bits_also_on_the_processor() -> None:
    for facts in (world(), world(hardware=card(24))):
        plan = planned(settings(lora=LOFTQ), facts)
        assert plan.precision.load_in_4bit.value
        assert plan.precision.load_in_4bit.rule == "--init-lora-weights loftq"


def test_loftq_over_whole_weights_is_refused() -> None:
    problem = refusal(settings(lora=LOFTQ, model={"load_in_4bit": False}), world(hardware=card(24)))
    assert problem.code == "CONFIG_INVALID_SETTING"
    assert "not in 4 bits" in problem.message
    assert "pissa" in problem.hint


def test_loftq_needs_bitsandbytes() -> None:
    assert refusal(settings(lora=LOFTQ), world(packages=INSTALLED)).code == "DEP_PACKAGE_MISSING"


@pytest.mark.parametrize("lora", [PISSA, LOFTQ])
def test_weights_that_are_stored_quantized_cannot_be_decomposed(lora: dict[str, AdapterInit]) -> None:
    facts = world(hardware=card(24))
    assert isinstance(facts.model, ModelFacts)
    stored = attrs.evolve(facts, model=attrs.evolve(facts.model, is_quantized=True))
    assert "only quantized ones" in refusal(settings(lora=lora), stored).message


def test_the_plan_tells_what_the_first_weights_cost() -> None:
    pissa, loftq = adapter(settings(lora=PISSA)).initial, adapter(settings(lora=LOFTQ)).initial
    assert pissa is not None
    assert loftq is not None
    assert loftq.flops == 5 * pissa.flops
    assert pissa.handed_over_rank == 512
    # The largest is 576 × 1536, decomposed whole: three matrices and both factors.
    assert pissa.matrix_bytes == 4 * (3 * 576 * 1536 + 2 * 576 * (576 + 1536))
    assert adapter(settings()).initial is None


def test_a_large_matrix_costs_less_than_all_its_singular_vectors() -> None:
    facts = world(model="Qwen/Qwen2.5-7B-Instruct", hardware=card(80))
    found = adapter(settings(lora={**PISSA, "r": 16}), facts)
    assert found.initial is not None
    assert isinstance(facts.model, ModelFacts)
    largest = 3584**2 * 18944 * 4 * facts.model.num_layers
    assert found.initial.flops < largest


def test_full_fine_tuning_says_that_the_flags_have_no_effect() -> None:
    wanted = settings(
        training={"mode": TrainMode.FULL, "fp8": True}, lora={**PISSA, "use_rslora": True, "lora_dropout": 0.05}
    )
    by = from_flags(
        lora__init_lora_weights="--init-lora-weights", lora__use_rslora="--use-rslora", training__fp8="--fp8"
    )
    found = {problem.where for problem in planned(wanted, world(hardware=card(80)), by).warnings}
    assert {"--init-lora-weights", "--use-rslora", "--fp8"} <= found
