"""The built-in table."""

from __future__ import annotations

import pytest
from transformers import AutoConfig

from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.model import ModelFacts, ModelSource


def facts_of(name: str) -> ModelFacts:
    return facts_from_config(ARCHITECTURES[name], name=name, source=ModelSource.TABLE)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_shape_is_consistent(name: str) -> None:
    facts = facts_of(name)
    assert facts.num_heads % facts.num_kv_heads == 0
    assert facts.head_dim in (64, 96, 128)
    assert facts.vocab_size % 64 == 0
    by_name = {layer.name: layer for layer in facts.linear_layers}
    attention = facts.num_heads * facts.head_dim
    assert (by_name["o_proj"].in_features, by_name["o_proj"].out_features) == (attention, facts.hidden_size)
    assert facts.num_layers * sum(x.in_features * x.out_features for x in facts.linear_layers) < facts.num_parameters


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_family_is_one_that_transformers_has(name: str) -> None:
    assert AutoConfig.for_model(facts_of(name).model_type).model_type == facts_of(name).model_type


@pytest.mark.parametrize(
    ("name", "num_parameters"),
    [
        ("Qwen/Qwen2.5-0.5B", 494_032_768),
        ("Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304),
        ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512),
        ("Qwen/Qwen2.5-72B", 72_706_203_648),
        ("Qwen/Qwen3-0.6B", 596_049_920),
        ("Qwen/Qwen3-8B", 8_190_735_360),
        ("meta-llama/Llama-3.2-1B", 1_235_814_400),
        ("meta-llama/Llama-3.2-3B-Instruct", 3_212_749_824),
        ("meta-llama/Llama-3.1-8B", 8_030_261_248),
        ("meta-llama/Llama-3.1-70B", 70_553_706_496),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
        ("HuggingFaceTB/SmolLM2-360M", 361_821_120),
        ("HuggingFaceTB/SmolLM2-1.7B", 1_711_376_384),
        ("mistralai/Mistral-7B-v0.3", 7_248_023_552),
        ("microsoft/Phi-3-mini-4k-instruct", 3_821_079_552),
        ("microsoft/phi-4", 14_659_507_200),
    ],
)
def test_the_parameters_are_as_many_as_the_published_weights_have(name: str, num_parameters: int) -> None:
    assert facts_of(name).num_parameters == num_parameters


def test_the_size_in_a_name_is_that_of_the_model() -> None:
    sizes = {name: facts_of(name).num_parameters / 1e9 for name in ARCHITECTURES if "Qwen" in name}
    told = {name: float(name.split("-")[1].removesuffix("B")) for name in sizes}
    assert {name: size for name, size in sizes.items() if abs(size / told[name] - 1) > 0.2} == {}
