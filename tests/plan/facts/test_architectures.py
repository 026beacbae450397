"""The built-in table."""

from __future__ import annotations

import re

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.model import ModelFacts, ModelSource

PUBLISHED = {
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-14B": 14_770_033_664,
    "Qwen/Qwen2.5-32B": 32_763_876_352,
    "Qwen/Qwen2.5-72B": 72_706_203_648,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen3-235B-A22B": 235_093_634_560,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Llama-2-13b-chat-hf": 13_015_864_320,
    "meta-llama/Llama-2-70b-hf": 68_976_648_192,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.1-70B": 70_553_706_496,
    "meta-llama/Llama-3.1-405B": 405_853_388_800,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1_100_048_384,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B": 1_711_376_384,
    "HuggingFaceTB/SmolLM3-3B": 3_075_098_624,
    "mistralai/Mistral-7B-v0.1": 7_241_732_096,
    "mistralai/Mistral-7B-v0.3": 7_248_023_552,
    "mistralai/Mistral-Nemo-Base-2407": 12_247_782_400,
    "mistralai/Mistral-Small-24B-Base-2501": 23_572_403_200,
    "mistralai/Mixtral-8x7B-v0.1": 46_702_792_704,
    "mistralai/Mixtral-8x22B-Instruct-v0.1": 140_630_071_296,
    "microsoft/Phi-3-mini-4k-instruct": 3_821_079_552,
    "microsoft/Phi-3-medium-4k-instruct": 13_960_238_080,
    "microsoft/phi-4": 14_659_507_200,
    "microsoft/Phi-4-mini-instruct": 3_836_021_760,
    "google/gemma-2b": 2_506_172_416,
    "google/gemma-7b": 8_537_680_896,
    "google/gemma-2-2b": 2_614_341_888,
    "google/gemma-2-9b": 9_241_705_984,
    "google/gemma-2-27b": 27_227_128_320,
    "google/gemma-3-270m": 268_098_176,
    "google/gemma-3-1b-it": 999_885_952,
    "allenai/OLMo-2-0425-1B": 1_484_916_736,
    "allenai/OLMo-2-1124-7B": 7_298_617_344,
    "allenai/OLMo-2-1124-13B": 13_716_198_400,
    "allenai/OLMo-2-0325-32B": 32_234_279_936,
    "allenai/OLMoE-1B-7B-0924": 6_919_161_856,
    "ibm-granite/granite-3.1-2b-instruct": 2_533_531_648,
    "ibm-granite/granite-3.1-8b-instruct": 8_170_848_256,
}
"""Parameters of the published weights, a tied head counted once."""

LENGTHS = ("max_position_embeddings", "sliding_window")


def facts_of(name: str) -> ModelFacts:
    return facts_from_config(ARCHITECTURES[name], name=name, source=ModelSource.TABLE)


def weights_of(name: str) -> tuple[object, ...]:
    """What two models share when their weights have the same shapes."""
    return tuple(sorted((key, str(value)) for key, value in ARCHITECTURES[name].items() if key not in LENGTHS))


DIFFERENT = tuple({weights_of(name): name for name in (*reversed(list(ARCHITECTURES)), *PUBLISHED)}.values())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_shape_is_consistent(name: str) -> None:
    facts = facts_of(name)
    assert facts.num_heads % facts.num_kv_heads == 0
    assert facts.head_dim in (64, 96, 128, 256)
    assert facts.vocab_size % 64 == 0 or "granite" in name
    by_name = {layer.name: layer for layer in facts.linear_layers}
    attention = facts.num_heads * facts.head_dim
    assert (by_name["o_proj"].in_features, by_name["o_proj"].out_features) == (attention, facts.hidden_size)
    assert facts.num_layers * sum(x.in_features * x.out_features for x in facts.linear_layers) < facts.num_parameters


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_model_has_the_parameters_that_transformers_gives_it(name: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**ARCHITECTURES[name]))
    assert facts_of(name).num_parameters == sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_parameters_are_as_many_as_the_published_weights_have(name: str) -> None:
    assert facts_of(name).num_parameters == PUBLISHED[name]


def test_all_but_a_tokenizer_s_few_more_tokens_is_published() -> None:
    unpublished = {weights_of(name): name for name in ARCHITECTURES}.keys() - {weights_of(name) for name in PUBLISHED}
    names = {name for name in ARCHITECTURES if weights_of(name) in unpublished}
    assert names == {"ibm-granite/granite-3.3-2b-instruct", "ibm-granite/granite-3.3-8b-instruct"}


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", 3.3),
        ("Qwen/Qwen3-235B-A22B", 22),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 12.9),
        ("mistralai/Mixtral-8x22B-Instruct-v0.1", 39),
        ("allenai/OLMoE-1B-7B-0125", 1.3),
    ],
)
def test_a_token_passes_as_many_parameters_as_the_model_s_card_says(name: str, billions: float) -> None:
    assert facts_of(name).num_active_parameters / 1e9 == pytest.approx(billions, rel=0.02)


def test_the_size_in_a_name_is_that_of_the_model() -> None:
    """Names round down by up to a half ("1B" for 1.48), and name the active parameters beside all of them."""
    told = {name: re.findall(r"-(\d+(?:\.\d+)?)([BMbm])(?![a-z])", name) for name in ARCHITECTURES}
    sizes = {
        name: max(float(size) * (1e9 if unit in "Bb" else 1e6) for size, unit in found)
        for name, found in told.items()
        if found
    }
    ratios = {name: facts_of(name).num_parameters / size for name, size in sizes.items()}
    assert len(sizes) > 0.9 * len(ARCHITECTURES)
    assert {name: ratio for name, ratio in ratios.items() if not 0.8 < ratio < 1.5} == {}
