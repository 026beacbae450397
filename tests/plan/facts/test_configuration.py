"""What a ``config.json`` says of how its weights are stored."""

from __future__ import annotations

import pytest
from transformers import BitsAndBytesConfig

from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.model import FourBit, ModelFacts, ModelSource

SEVEN_B = "Qwen/Qwen2.5-7B-Instruct"


def stored_as(**quantization: object) -> ModelFacts:
    config = {**ARCHITECTURES[SEVEN_B], "quantization_config": quantization}
    return facts_from_config(config, name=SEVEN_B, source=ModelSource.HUB)


@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
@pytest.mark.parametrize(("nested", "expected"), [(True, FourBit.DOUBLE), (False, FourBit.PLAIN)])
def test_four_bits_of_bitsandbytes_are_told_as_transformers_writes_them(
    quant_type: str, nested: bool, expected: FourBit
) -> None:
    written = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=quant_type, bnb_4bit_use_double_quant=nested)
    facts = stored_as(**written.to_dict())
    assert (facts.is_quantized, facts.four_bit) == (True, expected)


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False},
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "llm_int8_skip_modules": ["lm_head", "q_proj"]},
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "awq", "bits": 4},
        {"quant_method": "fp8"},
        {},
    ],
    ids=str,
)
def test_other_formats_are_quantized_in_a_way_that_is_not_counted(quantization: dict[str, object]) -> None:
    facts = stored_as(**quantization)
    assert (facts.is_quantized, facts.four_bit) == (True, None)


def test_whole_weights_are_in_no_format() -> None:
    facts = facts_from_config(ARCHITECTURES[SEVEN_B], name=SEVEN_B, source=ModelSource.HUB)
    assert (facts.is_quantized, facts.four_bit) == (False, None)
