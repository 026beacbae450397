"""A model's sizes as GGUF states them, and everything in a configuration that llama.cpp's code could not follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from backprop.plan.export.gguf.architectures import Architecture
from backprop.plan.export.gguf.metadata import Entry, real, whole
from backprop.plan.export.gguf.rope import Rope, rope_entries, rope_of
from backprop.plan.facts.families import FAMILY_DEFAULTS

_EPS_DEFAULT = 1e-6


@attrs.frozen
class Hyperparameters:
    """What the plan needs of a configuration."""

    architecture: Architecture
    model_type: str
    config: Mapping[str, Any]
    """With what the family's code takes where the file is silent."""
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope: Rope

    @property
    def rope_dimension(self) -> int:
        """Elements of each head that are turned."""
        fraction = self.config.get("partial_rotary_factor", self.rope.given.get("partial_rotary_factor", 1.0))
        return int(self.head_dim * float(fraction))

    @property
    def context(self) -> int:
        """Tokens that the model was made for."""
        return int(self.config.get("max_position_embeddings", 131_072))

    @property
    def original_context(self) -> int:
        """Before its rotary embedding was stretched."""
        for place in (self.rope.given, self.config):
            value = place.get("original_max_position_embeddings")
            if isinstance(value, int):
                return value
        return self.context


def read_hyperparameters(config: Mapping[str, Any], architecture: Architecture) -> Hyperparameters:
    """The sizes in a ``config.json``. Raises ``ValueError`` naming a key that is missing or no whole number."""
    model_type = str(config.get("model_type"))
    shape = {**FAMILY_DEFAULTS.get(model_type, {}), **{k: v for k, v in config.items() if v is not None}}

    def count(key: str, default: int | None = None) -> int:
        value = shape.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f'config.json has no usable "{key}" (found {value!r})')
        return value

    hidden, heads = count("hidden_size"), count("num_attention_heads")
    for key in ("intermediate_size", "vocab_size"):
        count(key)
    return Hyperparameters(
        architecture=architecture,
        model_type=model_type,
        config=shape,
        num_layers=count("num_hidden_layers"),
        hidden_size=hidden,
        num_heads=heads,
        num_kv_heads=count("num_key_value_heads", heads),
        head_dim=count("head_dim", hidden // heads),
        rope=rope_of(shape),
    )


def hyperparameter_entries(model: Hyperparameters) -> tuple[Entry, ...]:
    """``llama.block_count`` and its like."""
    config, prefix = model.config, model.architecture.name
    entries = [
        whole(f"{prefix}.block_count", model.num_layers),
        whole(f"{prefix}.context_length", model.context),
        whole(f"{prefix}.embedding_length", model.hidden_size),
        whole(f"{prefix}.feed_forward_length", config["intermediate_size"]),
        whole(f"{prefix}.attention.head_count", model.num_heads),
        whole(f"{prefix}.attention.head_count_kv", model.num_kv_heads),
        whole(f"{prefix}.attention.key_length", model.head_dim),
        whole(f"{prefix}.attention.value_length", model.head_dim),
        real(f"{prefix}.attention.layer_norm_rms_epsilon", config.get("rms_norm_eps", _EPS_DEFAULT)),
        *rope_entries(model.rope, prefix, context=model.context, original_context=model.original_context),
    ]
    if model.architecture.writes_rope_dimension:
        entries.append(whole(f"{prefix}.rope.dimension_count", model.rope_dimension))
    return (*entries, *_of_family(model))


def _of_family(model: Hyperparameters) -> tuple[Entry, ...]:
    config, prefix = model.config, model.architecture.name
    entries = [
        real(f"{prefix}.{key}", config[name]) for name, key in _SCALES.get(prefix, {}).items() if config.get(name)
    ]
    match prefix:
        case "gemma2" | "gemma3":
            entries.append(whole(f"{prefix}.attention.sliding_window", config["sliding_window"]))
        case "phi3":
            # Zero tells Phi-4 from the others.
            entries += [
                whole(f"{prefix}.attention.sliding_window", config.get("sliding_window") or 0),
                *(_original_context(model) if model.rope.kind != "longrope" else ()),
            ]
        case "llama" | "granite":
            entries.append(whole(f"{prefix}.vocab_size", config["vocab_size"]))
        case _:
            pass
    return tuple(entries)


def _original_context(model: Hyperparameters) -> tuple[Entry, ...]:
    return (whole("phi3.rope.scaling.original_context_length", model.original_context),)


_SCALES: Mapping[str, Mapping[str, str]] = {
    "granite": {
        "attention_multiplier": "attention.scale",
        "embedding_multiplier": "embedding_scale",
        "residual_multiplier": "residual_scale",
        "logits_scaling": "logit_scale",
    },
    "gemma2": {
        "attn_logit_softcapping": "attn_logit_softcapping",
        "final_logit_softcapping": "final_logit_softcapping",
    },
    "gemma3": {"final_logit_softcapping": "final_logit_softcapping"},
}


def obstacles(model: Hyperparameters) -> tuple[str, ...]:
    """What llama.cpp's code for the family would compute otherwise, each as a sentence; empty when nothing."""
    found = []
    config, architecture = model.config, model.architecture
    activation = config.get("hidden_activation") or config.get("hidden_act") or architecture.activation[0]
    if activation not in architecture.activation:
        found.append(f"Its activation is {activation}, where {architecture.name} has {architecture.activation[0]}.")
    if model.rope.kind not in ("default", *architecture.scalings):
        found.append(f"Its rotary embedding is scaled by {model.rope.kind}, which {architecture.name} does not know.")
    if architecture.head_is_hidden and model.num_heads * model.head_dim != model.hidden_size:
        found.append(f"Its {model.num_heads} heads of {model.head_dim} are not as wide as the model.")
    turned = model.rope_dimension
    if turned != model.head_dim and not architecture.writes_rope_dimension:
        found.append(f"Its rotary embedding turns {turned} of the {model.head_dim} elements of a head.")
    for name, factors in _factors_of(model).items():
        if len(factors) != turned // 2:
            found.append(f"It has {len(factors)} {name} where the rotary embedding needs {turned // 2}.")
    return (*found, *_layers_amiss(model))


def _factors_of(model: Hyperparameters) -> Mapping[str, tuple[object, ...]]:
    if model.rope.kind != "longrope":
        return {}
    return {key: tuple(model.rope.given.get(key) or ()) for key in ("long_factor", "short_factor")}


_WINDOW_EVERY = {"gemma2": 2, "gemma3": 6}
"""The last of so many layers sees everything, the others a window."""


def _layers_amiss(model: Hyperparameters) -> tuple[str, ...]:
    config, name = model.config, model.architecture.name
    found = []
    if every := _WINDOW_EVERY.get(name):
        usual = ["full_attention" if (i + 1) % every == 0 else "sliding_attention" for i in range(model.num_layers)]
        if list(config.get("layer_types") or usual) != usual:
            found.append(f"Its layers with a window are not those of {name}.")
        # llama.cpp scales the 27B models by the width of the model, all others by that of a head.
        usual_scalar = model.hidden_size // model.num_heads if model.num_layers in (46, 62) else model.head_dim
        if float(config.get("query_pre_attn_scalar", 256)) != usual_scalar:
            found.append(f"Its attention is scaled for {config.get('query_pre_attn_scalar', 256)} elements.")
    if name == "smollm3":
        usual_turns = [int((i + 1) % 4 != 0) for i in range(model.num_layers)]
        if list(config.get("no_rope_layers") or usual_turns) != usual_turns:
            found.append("Its layers without rotary embedding are not every fourth.")
    if name == "gemma3" and config.get("use_bidirectional_attention"):
        found.append("Its attention looks ahead.")
    return tuple(found)


def unused_window(model: Hyperparameters) -> int | None:
    """The attention window that llama.cpp ignores for this family; None where nothing is lost."""
    asks = model.model_type in ("qwen2", "qwen3", "smollm3")
    window = model.config.get("sliding_window")
    if model.architecture.name in _WINDOW_EVERY or (asks and not model.config.get("use_sliding_window")):
        return None
    return window if isinstance(window, int) and 0 < window < model.context else None
