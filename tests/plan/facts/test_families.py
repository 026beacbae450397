"""Shapes and counts against those of transformers, on the meta device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from backprop.plan.facts.architectures import facts_from_config
from backprop.plan.facts.families import FAMILY_DEFAULTS
from backprop.plan.facts.model import ModelFacts, ModelSource

FAMILIES = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "phi3",
    "smollm3",
    "granite",
    "olmo2",
    "olmo3",
)
SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 128,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def config_of(family: str, directory: Path, **changes: object) -> tuple[Any, dict[str, Any]]:
    """(transformers' configuration, config.json as it is published)."""
    config = AutoConfig.for_model(family, **{**SMALL, **changes})
    config.save_pretrained(directory)
    return config, json.loads((directory / "config.json").read_text())


def facts_of(config: dict[str, Any]) -> ModelFacts:
    return facts_from_config(config, name="small", source=ModelSource.DIRECTORY)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"tie_word_embeddings": False},
        {"head_dim": 32},
        {"num_key_value_heads": 4},
        {"attention_bias": True},
        {"mlp_bias": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_and_linear_layers_are_those_of_transformers(
    family: str, changes: dict[str, object], tmp_path: Path
) -> None:
    config, published = config_of(family, tmp_path, **changes)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    layers = {
        name.rpartition(".")[2]: (module.in_features, module.out_features)
        for name, module in model.model.layers[0].named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    facts = facts_of(published)
    assert facts.num_parameters == sum(weight.numel() for weight in model.parameters())
    assert {layer.name: (layer.in_features, layer.out_features) for layer in facts.linear_layers} == layers


@pytest.mark.parametrize(("family", "key"), [(f, key) for f, defaults in FAMILY_DEFAULTS.items() for key in defaults])
def test_what_a_configuration_leaves_out_is_what_transformers_assumes(family: str, key: str) -> None:
    assert FAMILY_DEFAULTS[family][key] == getattr(AutoConfig.for_model(family), key)


def test_what_a_configuration_says_wins_over_its_family(tmp_path: Path) -> None:
    _, published = config_of("gemma2", tmp_path, tie_word_embeddings=False)
    assert not facts_of(published).tie_word_embeddings
    del published["tie_word_embeddings"]
    assert facts_of(published).tie_word_embeddings


def test_the_text_part_of_a_configuration_is_read(tmp_path: Path) -> None:
    _, published = config_of("gemma3_text", tmp_path)
    whole = facts_of({"model_type": "gemma3", "text_config": published, "vision_config": {"hidden_size": 7}})
    assert whole == facts_of(published)


def test_both_names_of_the_type_of_the_weights_are_known(tmp_path: Path) -> None:
    _, published = config_of("llama", tmp_path)
    published.pop("dtype", None)
    assert facts_of({**published, "torch_dtype": "float16"}).weights_dtype == "float16"
    assert facts_of({**published, "dtype": "float32"}).weights_dtype == "float32"


@pytest.mark.parametrize("value", [None, 0, -1, "64", 6.4, True])
@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "vocab_size"])
def test_a_number_that_cannot_be_used_is_named(key: str, value: object) -> None:
    config = {"model_type": "llama", **SMALL, key: value}
    with pytest.raises(ValueError, match=f'config.json has no usable "{key}"'):
        facts_of(config)


def test_a_configuration_without_model_type_is_refused() -> None:
    with pytest.raises(ValueError, match="model_type"):
        facts_of(dict(SMALL))


def test_more_heads_than_the_width_is_refused() -> None:
    with pytest.raises(ValueError, match="head_dim"):
        facts_of({"model_type": "llama", **SMALL, "num_attention_heads": 128})
