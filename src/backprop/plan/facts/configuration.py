"""The facts of a model out of its ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from backprop.plan.facts.families import (
    FAMILY_DEFAULTS,
    ExpertKeys,
    Family,
    Window,
    family_of,
    linear_layers_of,
)
from backprop.plan.facts.model import Experts, FourBit, LinearLayer, ModelFacts, ModelSource
from backprop.plan.facts.parameters import count_parameters


def facts_from_config(
    config: Mapping[str, object],
    *,
    name: str,
    source: ModelSource,
    directory: str | None = None,
    commit: str | None = None,
    linear_layers: tuple[LinearLayer, ...] | None = None,
    num_parameters: int | None = None,
    weights_bytes: int | None = None,
    weights_dtype: str | None = None,
    licence: str = "",
) -> ModelFacts:
    """Facts from a ``config.json``; what its weight files showed wins over what the family implies.

    Raises ``ValueError`` naming the first key that is missing or of a wrong type.
    """
    inner = config.get("text_config")
    given = inner if isinstance(inner, Mapping) else config
    model_type = given.get("model_type", config.get("model_type"))
    if not isinstance(model_type, str):
        raise ValueError('config.json has no "model_type"')
    shape = {**FAMILY_DEFAULTS.get(model_type, {}), **given}
    family = family_of(model_type)
    hidden = _whole(shape, "hidden_size")
    heads = _whole(shape, "num_attention_heads")
    kv_heads = _whole(shape, "num_key_value_heads", default=heads)
    head_dim = _whole(shape, "head_dim", default=hidden // heads)
    intermediate = _whole(shape, "intermediate_size", default=4 * hidden)
    experts = _experts(shape, family)
    # The files of a mixture name a matrix for each expert, but they are loaded into fused parameters.
    seen = None if experts else linear_layers
    linear = seen or linear_layers_of(
        model_type,
        hidden_size=hidden,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=intermediate,
        has_experts=experts is not None,
    )
    attention_bias = family.reads_attention_bias and shape.get("attention_bias") is True
    longest = shape.get("max_position_embeddings")
    facts = ModelFacts(
        name=name,
        source=source,
        directory=directory,
        commit=commit,
        model_type=model_type,
        num_parameters=num_parameters or 0,
        num_layers=_whole(shape, "num_hidden_layers"),
        hidden_size=hidden,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=intermediate,
        vocab_size=_whole(shape, "vocab_size"),
        tie_word_embeddings=bool({**shape, **config, **given}.get("tie_word_embeddings", False)),
        max_position_embeddings=longest if isinstance(longest, int) else None,
        linear_layers=linear,
        weights_bytes=weights_bytes,
        weights_dtype=weights_dtype or str(config.get("dtype") or config.get("torch_dtype") or "bfloat16"),
        is_quantized="quantization_config" in config,
        four_bit=_four_bit(config.get("quantization_config")),
        has_qkv_bias=attention_bias or (family.qkv_bias and shape.get("qkv_bias") is not False),
        has_output_bias=attention_bias,
        has_mlp_bias=family.reads_mlp_bias and shape.get("mlp_bias") is True,
        rotary_fraction=_rotary_fraction(shape) if family.reads_rotary_fraction else 1.0,
        sliding_window=_sliding_window(shape, family),
        soft_caps_attention=family.reads_soft_caps and shape.get("attn_logit_softcapping") is not None,
        soft_caps_logits=family.reads_soft_caps and shape.get("final_logit_softcapping") is not None,
        experts=experts,
        licence=licence,
    )
    return facts if facts.num_parameters else attrs.evolve(facts, num_parameters=count_parameters(facts))


def _four_bit(stored: object) -> FourBit | None:
    """What a ``quantization_config`` says, where it is bitsandbytes' 4 bits (transformers, ``BitsAndBytesConfig``).

    Layers besides the head that were left whole, 8 bits and other methods are not told apart: None.
    """
    if not isinstance(stored, Mapping) or stored.get("load_in_4bit") is not True:
        return None
    if stored.get("quant_method", "bitsandbytes") != "bitsandbytes":
        return None
    whole = stored.get("llm_int8_skip_modules")
    if isinstance(whole, (list, tuple)) and any(name != "lm_head" for name in whole):
        return None
    return FourBit.DOUBLE if stored.get("bnb_4bit_use_double_quant") is True else FourBit.PLAIN


def _experts(shape: Mapping[str, object], family: Family) -> Experts | None:
    keys = family.experts or _USUAL_EXPERT_KEYS
    count = next((value for key in keys.count if isinstance(value := shape.get(key), int)), 0)
    if not count:
        return None
    layers = _whole(shape, "num_hidden_layers")
    return Experts(
        count=count,
        per_token=_whole(shape, "num_experts_per_tok", default=1),
        intermediate_size=_whole(shape, keys.width, default=_whole(shape, "intermediate_size", default=1)),
        num_layers=layers - (_num_plain_layers(shape, layers) if keys.has_plain_layers else 0),
        shared_intermediate_size=_whole(shape, keys.shared_width) if keys.shared_width else 0,
    )


def _num_plain_layers(shape: Mapping[str, object], num_layers: int) -> int:
    plain = shape.get("mlp_only_layers")
    named = frozenset(plain) if isinstance(plain, (list, tuple)) else frozenset()
    step = _whole(shape, "decoder_sparse_step", default=1)
    return sum(1 for layer in range(num_layers) if layer in named or (layer + 1) % step)


_USUAL_EXPERT_KEYS = ExpertKeys(("num_local_experts", "num_experts", "n_routed_experts"), "moe_intermediate_size")


def _rotary_fraction(shape: Mapping[str, object]) -> float:
    """``partial_rotary_factor``, which transformers 5 writes into ``rope_parameters``."""
    rope = shape.get("rope_parameters")
    inner = rope.get("partial_rotary_factor") if isinstance(rope, Mapping) else None
    fraction = shape.get("partial_rotary_factor", inner)
    return float(fraction) if isinstance(fraction, (int, float)) else 1.0


def _sliding_window(shape: Mapping[str, object], family: Family) -> int | None:
    window = shape.get("sliding_window")
    is_used = shape.get("use_sliding_window") is True if family.asks_for_window else family.window is not Window.NONE
    return window if is_used and isinstance(window, int) and window > 0 else None


def _whole(config: Mapping[str, object], key: str, *, default: int | None = None) -> int:
    value = config.get(key)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f'config.json has no usable "{key}" (found {value!r})')
    return value
