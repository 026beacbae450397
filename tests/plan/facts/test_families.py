"""Shapes and counts against those of transformers, on the meta device."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto import modeling_auto as names

from backprop.plan.facts.architectures import facts_from_config
from backprop.plan.facts.families import FAMILY_DEFAULTS, Window, family_of
from backprop.plan.facts.model import LinearLayer, ModelFacts, ModelSource
from backprop.plan.wire.converter import from_data, to_data

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
MIXTURES = ("mixtral", "qwen3_moe", "qwen2_moe", "olmoe")
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
    assert facts.num_parameters == facts.num_active_parameters == sum(weight.numel() for weight in model.parameters())
    assert {layer.name: (layer.in_features, layer.out_features) for layer in facts.linear_layers} == layers
    attention, mlp = model.model.layers[0].self_attn, model.model.layers[0].mlp
    first = attention.qkv_proj if facts.linear_layers[0].name == "qkv_proj" else attention.q_proj
    assert facts.has_qkv_bias == (first.bias is not None)
    assert facts.has_output_bias == (attention.o_proj.bias is not None)
    assert facts.has_mlp_bias == (mlp.down_proj.bias is not None)


@pytest.mark.parametrize("changes", [{}, {"mlp_only_layers": [1]}, {"decoder_sparse_step": 2}], ids=str)
@pytest.mark.parametrize("family", MIXTURES)
def test_mixtures_count_all_experts_and_of_those_that_are_used_the_chosen(
    family: str, changes: dict[str, object], tmp_path: Path
) -> None:
    widths = {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 48, "num_experts_per_tok": 3}
    experts = {"num_local_experts" if family == "mixtral" else "num_experts": 8}
    config, published = config_of(family, tmp_path, **widths, **experts, **changes)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    facts = facts_of(published)
    assert facts.num_parameters == sum(weight.numel() for weight in model.parameters())
    idle = sum(w.numel() * 5 // 8 for name, w in model.named_parameters() if ".experts." in name)
    assert facts.num_active_parameters == facts.num_parameters - idle
    attention = {name for name, module in model.model.layers[0].self_attn.named_children() if hasattr(module, "bias")}
    assert {layer.name for layer in facts.linear_layers} == attention


def test_the_matrices_that_files_name_for_each_expert_are_no_linear_layers(tmp_path: Path) -> None:
    _, published = config_of("mixtral", tmp_path)
    stored = (LinearLayer("q_proj", 64, 64), LinearLayer("w1", 64, 96), LinearLayer("gate", 64, 8))
    facts = facts_from_config(published, name="small", source=ModelSource.DIRECTORY, linear_layers=stored)
    assert [layer.name for layer in facts.linear_layers] == ["q_proj", "k_proj", "v_proj", "o_proj"]


@pytest.mark.parametrize("family", [*FAMILIES, *MIXTURES])
@pytest.mark.parametrize(
    "changes", [{}, {"sliding_window": 7}, {"sliding_window": 7, "use_sliding_window": True, "max_window_layers": 1}]
)
def test_a_window_is_one_that_a_layer_has(family: str, changes: dict[str, object], tmp_path: Path) -> None:
    config, published = config_of(family, tmp_path, num_hidden_layers=8, **changes)
    kinds = getattr(config, "layer_types", None)
    code = inspect.getsource(sys.modules[AutoModelForCausalLM._model_mapping[type(config)].__module__])
    has_window = "create_sliding_window_causal_mask(" in code or "else create_sliding_window_causal_mask" in code
    has_window &= "sliding_attention" in kinds if kinds else bool(getattr(config, "sliding_window", None))
    facts = facts_of(published)
    assert facts.sliding_window == (config.sliding_window if has_window else None)
    if has_window:
        assert (family_of(family).window is Window.SOME) == (kinds is not None and len(set(kinds)) > 1)


def test_the_part_of_a_head_that_turns_is_read_from_both_places(tmp_path: Path) -> None:
    _, published = config_of("phi3", tmp_path, partial_rotary_factor=0.75)
    assert published["rope_parameters"]["partial_rotary_factor"] == 0.75
    assert facts_of(published).rotary_fraction == 0.75
    old = {key: published[key] for key in published.keys() - {"rope_parameters", "partial_rotary_factor"}}
    assert facts_of({**old, "partial_rotary_factor": 0.5}).rotary_fraction == 0.5
    assert facts_of(old).rotary_fraction == 1.0


def test_soft_caps_are_those_of_gemma_2_unless_its_configuration_turns_them_off(tmp_path: Path) -> None:
    _, published = config_of("gemma2", tmp_path)
    assert facts_of(published).soft_caps_attention
    assert facts_of(published).soft_caps_logits
    published["attn_logit_softcapping"] = None
    assert not facts_of(published).soft_caps_attention
    assert facts_of(published).soft_caps_logits
    _, other = config_of("gemma3_text", tmp_path, attn_logit_softcapping=50.0)
    assert not facts_of(other).soft_caps_attention


@pytest.mark.parametrize("family", [*FAMILIES, *MIXTURES])
def test_facts_pass_through_json(family: str, tmp_path: Path) -> None:
    facts = facts_of(config_of(family, tmp_path)[1])
    assert from_data(json.loads(json.dumps(to_data(facts))), ModelFacts) == facts


@pytest.mark.parametrize(("family", "key"), [(f, key) for f, defaults in FAMILY_DEFAULTS.items() for key in defaults])
def test_what_a_configuration_leaves_out_is_what_transformers_assumes(family: str, key: str) -> None:
    assert FAMILY_DEFAULTS[family][key] == getattr(AutoConfig.for_model(family), key)


def test_every_decoder_that_transformers_ties_unasked_is_tied_here() -> None:
    known = {family for family, defaults in FAMILY_DEFAULTS.items() if defaults.get("tie_word_embeddings")}
    encoders = {*names.MODEL_FOR_MASKED_LM_MAPPING_NAMES, *names.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES}
    # Of these no decoder of text alone is ever loaded.
    others = {"bert-generation", "cpmant", "ctrl", "trocr", "whisper", "xlnet"}
    for family in names.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys() - encoders - others - known:
        with contextlib.suppress(StrictDataclassError, ValueError):  # parts of larger models cannot stand alone
            config = AutoConfig.for_model(family).get_text_config()
            assert config.model_type != family or not getattr(config, "tie_word_embeddings", False), family


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
