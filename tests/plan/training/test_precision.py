"""Which format is computed in, by which rule: flag over variable over file, and reasons that are true."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from backprop.plan.decision import Decision, Refused
from backprop.plan.facts.model import ModelFacts
from backprop.plan.settings.model import Dtype
from backprop.plan.settings.resolve import Origin, Origins, Source
from backprop.plan.training.number_format import NumberFormat
from backprop.plan.training.plan import plan_train
from tests.plan.training.worlds import CPU_MACHINE, card, from_flags, planned, settings, world

AMPERE, TURING = card(16, (8, 0)), card(16, (7, 5))
NO_BF16 = Origins({"training.bf16": Origin(Source.FLAG, "--no-bf16")})
NO_FP16 = Origins({"training.fp16": Origin(Source.ENVIRONMENT, "BACKPROPAGATE_TRAINING__FP16")})


def origins(**sources: Source) -> Origins:
    """Origins by configuration key with ``__`` for the dot; each is named by its source."""
    return Origins({key.replace("__", "."): Origin(source, source.value) for key, source in sources.items()})


def compute(wanted: Any, hardware: Any, given: Origins) -> Decision[NumberFormat]:
    return planned(wanted, world(hardware=hardware), given).precision.compute


def test_a_card_with_bfloat16_that_may_not_use_it_says_so() -> None:
    decided = compute(settings(training={"bf16": False}), AMPERE, NO_BF16)
    assert (decided.value, decided.rule) == (NumberFormat.FLOAT16, "set by --no-bf16")
    assert "has bfloat16" in decided.why


def test_a_processor_with_bfloat16_that_may_not_use_it_says_so() -> None:
    decided = compute(settings(training={"bf16": False}), CPU_MACHINE, NO_BF16)
    assert (decided.value, decided.rule) == (NumberFormat.FLOAT32, "set by --no-bf16")
    assert "emulate" not in decided.why


def test_a_card_without_bfloat16_that_may_not_use_float16_names_what_forbade_it() -> None:
    decided = compute(settings(training={"fp16": False}), TURING, NO_FP16)
    assert (decided.value, decided.rule) == (NumberFormat.FLOAT32, "set by BACKPROPAGATE_TRAINING__FP16")
    assert "only half format" in decided.why


def test_neither_half_format_leaves_float32() -> None:
    decided = compute(settings(training={"bf16": False, "fp16": False}), AMPERE, NO_FP16)
    assert (decided.value, decided.why) == (NumberFormat.FLOAT32, "Neither half format is to be used.")


@pytest.mark.parametrize(
    ("bf16", "dtype", "chosen"),
    [
        (Source.ENVIRONMENT, Source.FLAG, NumberFormat.FLOAT32),
        (Source.FLAG, Source.ENVIRONMENT, NumberFormat.BFLOAT16),
        (Source.CONFIG, Source.ENVIRONMENT, NumberFormat.FLOAT32),
    ],
)
def test_the_stronger_source_decides_between_dtype_and_bf16(bf16: Source, dtype: Source, chosen: NumberFormat) -> None:
    wanted = settings(training={"bf16": True}, model={"dtype": Dtype.FLOAT32})
    decided = compute(wanted, AMPERE, origins(training__bf16=bf16, model__dtype=dtype))
    assert decided.value is chosen


@pytest.mark.parametrize(
    ("training", "model"),
    [
        ({"bf16": True}, {"dtype": Dtype.FLOAT32}),
        ({"bf16": True, "fp16": True}, {}),
        ({"bf16": False}, {"dtype": Dtype.BFLOAT16}),
    ],
)
def test_settings_of_one_source_that_contradict_each_other_are_refused(
    training: dict[str, Any], model: dict[str, Any]
) -> None:
    given = from_flags(training__bf16="--bf16", training__fp16="--fp16", model__dtype="--dtype")
    refused = plan_train(settings(training=training, model=model), world(hardware=AMPERE), origins=given)
    assert isinstance(refused, Refused)
    assert refused.problems[0].code == "CONFIG_INVALID_SETTING"
    assert refused.problems[0].where.startswith("--bf16, --")


def test_float16_of_a_variable_on_the_cpu_names_the_variable() -> None:
    given = Origins({"training.fp16": Origin(Source.ENVIRONMENT, "BACKPROPAGATE_TRAINING__FP16")})
    refused = plan_train(settings(training={"fp16": True}), world(), origins=given)
    assert isinstance(refused, Refused)
    assert refused.problems[0].where == "BACKPROPAGATE_TRAINING__FP16"


def test_four_bits_of_a_model_that_is_stored_quantized_are_reported_without_effect() -> None:
    facts = world(hardware=AMPERE)
    assert isinstance(facts.model, ModelFacts)
    quantized = attrs.evolve(facts, model=attrs.evolve(facts.model, is_quantized=True))
    asked, unasked = planned(settings(model={"load_in_4bit": True}), quantized), planned(settings(), quantized)
    assert [told.message for told in asked.warnings if "stored quantized" in told.message]
    assert not [told for told in unasked.warnings if "stored quantized" in told.message]
