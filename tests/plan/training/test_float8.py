"""Where --fp8 is heeded, what stays as it is, and what is said where it cannot be."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from backprop.plan.decision import Problem, Refused, errors_among
from backprop.plan.facts.model import LinearLayer, ModelFacts
from backprop.plan.memory.term import TermName
from backprop.plan.settings.resolve import Origins
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.number_format import NumberFormat
from backprop.plan.training.plan import TrainPlan, plan_train
from tests.plan.training.worlds import CPU_MACHINE, INSTALLED, card, planned, settings, world

WITH_TORCHAO = (("bitsandbytes", "0.50"), ("torchao", "0.18"), *INSTALLED)
HOPPER = card(80, (9, 0))
SEVEN_B = "Qwen/Qwen2.5-7B-Instruct"


def there(hardware: Any = HOPPER, **changes: Any) -> TrainFacts:
    facts = world(model=SEVEN_B, hardware=hardware, packages=WITH_TORCHAO)
    assert isinstance(facts.model, ModelFacts)
    return attrs.evolve(facts, model=attrs.evolve(facts.model, **changes))


def with_fp8(facts: TrainFacts, **groups: dict[str, Any]) -> TrainPlan:
    training = {"fp8": True, **groups.pop("training", {})}
    return planned(settings(training=training, **groups), facts)


def refusal(facts: TrainFacts, **groups: dict[str, Any]) -> Problem:
    plan = plan_train(settings(training={"fp8": True}, **groups), facts, origins=Origins())
    assert isinstance(plan, Refused)
    (problem,) = errors_among(plan.problems)
    return problem


@pytest.mark.parametrize("capability", [(9, 0), (10, 0), (12, 0)])
def test_hopper_and_blackwell_hold_every_linear_layer_in_float8(capability: tuple[int, int]) -> None:
    plan = with_fp8(there(card(80, capability)))
    assert plan.precision.float8 is not None
    assert len(plan.precision.float8.layers.value) == 7
    assert plan.precision.float8.kept == ()
    assert not plan.precision.load_in_4bit.value
    assert plan.precision.compute.value is NumberFormat.BFLOAT16
    assert plan.warnings == ()


def test_the_weights_take_a_byte_each_but_for_what_stays_bfloat16() -> None:
    def frozen(plan: TrainPlan) -> int:
        assert plan.memory is not None
        return plan.memory.bytes_of(TermName.FROZEN_WEIGHTS)

    half = frozen(planned(settings(model={"load_in_4bit": False}), there()))
    eight = frozen(with_fp8(there()))
    model = there().model
    assert isinstance(model, ModelFacts)
    linear = model.num_layers * sum(one.in_features * one.out_features for one in model.linear_layers)
    assert half - eight == pytest.approx(linear, rel=1e-3)


def test_layers_whose_sides_are_no_multiples_of_16_stay_as_they_are() -> None:
    odd = tuple(
        LinearLayer(one.name, one.in_features, 520) if one.name == "k_proj" else one
        for one in there().model.linear_layers  # type: ignore[union-attr]
    )
    plan = with_fp8(there(linear_layers=odd))
    assert plan.precision.float8 is not None
    assert plan.precision.float8.kept == ("k_proj",)
    assert "k_proj" not in plan.precision.float8.layers.value
    assert "k_proj, embeddings" in plan.precision.float8.layers.why


@pytest.mark.parametrize(
    ("facts", "groups", "reason"),
    [
        (there(card(80, (8, 9))), {}, "compute capability 9.0"),
        (there(attrs.evolve(CPU_MACHINE, ram_available_bytes=1 << 40)), {}, "on the processor"),
        (there(is_quantized=True), {}, "stored quantized"),
        (there(), {"training": {"fp16": True}}, "arithmetic is float16"),
        (there(linear_layers=(LinearLayer("q_proj", 100, 100),)), {}, "multiples of 16"),
    ],
)
def test_where_it_cannot_be_heeded_a_warning_says_why(facts: TrainFacts, groups: Any, reason: str) -> None:
    plan = with_fp8(facts, **groups)
    assert plan.precision.float8 is None
    assert not plan.precision.load_in_4bit.value, "the fall-back is whole weights"
    (problem,) = [p for p in plan.warnings if p.code == "RUNTIME_FP8_UNSUPPORTED"]
    assert reason in problem.message


def test_a_missing_torchao_is_named_only_where_the_card_could() -> None:
    facts = attrs.evolve(there(), software=world(packages=INSTALLED).software)
    problem = refusal(facts)
    assert (problem.code, "pip install torchao" in problem.hint) == ("DEP_PACKAGE_MISSING", True)
    old = attrs.evolve(there(card(80, (8, 0))), software=world(packages=INSTALLED).software)
    assert with_fp8(old).precision.float8 is None


@pytest.mark.parametrize(
    ("groups", "other"),
    [({"model": {"load_in_4bit": True}}, "--load-in-4bit"), ({"lora": {"use_dora": True}}, "--use-dora")],
)
def test_what_contradicts_it_is_refused_with_both_names(groups: Any, other: str) -> None:
    problem = refusal(there(), **groups)
    assert problem.code == "CONFIG_INVALID_SETTING"
    assert problem.where == f"--fp8, {other}"
