"""Shapes of models out of ``config.json``, and those of well-known models, so that plans work without a network.

Numbers are those of the models' published ``config.json``.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from backprop.plan.facts.families import (
    FAMILY_DEFAULTS,
    ExpertKeys,
    Family,
    Window,
    count_parameters,
    family_of,
    linear_layers_of,
)
from backprop.plan.facts.model import Experts, LinearLayer, ModelFacts, ModelSource


def _shape(
    model_type: str,
    hidden_size: int,
    num_hidden_layers: int,
    num_attention_heads: int,
    num_key_value_heads: int,
    intermediate_size: int,
    vocab_size: int,
    max_position_embeddings: int,
    *,
    tied: bool = False,
    head_dim: int | None = None,
) -> Mapping[str, object]:
    return {
        "model_type": model_type,
        "hidden_size": hidden_size,
        "num_hidden_layers": num_hidden_layers,
        "num_attention_heads": num_attention_heads,
        "num_key_value_heads": num_key_value_heads,
        "intermediate_size": intermediate_size,
        "vocab_size": vocab_size,
        "max_position_embeddings": max_position_embeddings,
        "tie_word_embeddings": tied,
        "head_dim": head_dim or hidden_size // num_attention_heads,
        "dtype": "bfloat16",
    }


_QWEN25 = {
    "0.5B": _shape("qwen2", 896, 24, 14, 2, 4864, 151936, 32768, tied=True),
    "1.5B": _shape("qwen2", 1536, 28, 12, 2, 8960, 151936, 32768, tied=True),
    "3B": _shape("qwen2", 2048, 36, 16, 2, 11008, 151936, 32768, tied=True),
    "7B": _shape("qwen2", 3584, 28, 28, 4, 18944, 152064, 32768),
    "14B": _shape("qwen2", 5120, 48, 40, 8, 13824, 152064, 32768),
    "32B": _shape("qwen2", 5120, 64, 40, 8, 27648, 152064, 32768),
    "72B": _shape("qwen2", 8192, 80, 64, 8, 29568, 152064, 32768),
}
_QWEN3 = {
    "0.6B": _shape("qwen3", 1024, 28, 16, 8, 3072, 151936, 40960, tied=True, head_dim=128),
    "1.7B": _shape("qwen3", 2048, 28, 16, 8, 6144, 151936, 40960, tied=True, head_dim=128),
    "4B": _shape("qwen3", 2560, 36, 32, 8, 9728, 151936, 40960, tied=True, head_dim=128),
    "8B": _shape("qwen3", 4096, 36, 32, 8, 12288, 151936, 40960, head_dim=128),
    "14B": _shape("qwen3", 5120, 40, 40, 8, 17408, 151936, 40960, head_dim=128),
    "32B": _shape("qwen3", 5120, 64, 64, 8, 25600, 151936, 40960, head_dim=128),
}
_LLAMA_1B = _shape("llama", 2048, 16, 32, 8, 8192, 128256, 131072, tied=True)
_LLAMA_3B = _shape("llama", 3072, 28, 24, 8, 8192, 128256, 131072, tied=True)
_LLAMA_8B = _shape("llama", 4096, 32, 32, 8, 14336, 128256, 131072)
_LLAMA_70B = _shape("llama", 8192, 80, 64, 8, 28672, 128256, 131072)
_SMOLLM2 = {
    "135M": _shape("llama", 576, 30, 9, 3, 1536, 49152, 8192, tied=True),
    "360M": _shape("llama", 960, 32, 15, 5, 2560, 49152, 8192, tied=True),
    "1.7B": _shape("llama", 2048, 24, 32, 32, 8192, 49152, 8192, tied=True),
}

ARCHITECTURES: Mapping[str, Mapping[str, object]] = {
    **{f"Qwen/Qwen2.5-{size}{kind}": shape for size, shape in _QWEN25.items() for kind in ("", "-Instruct")},
    **{f"Qwen/Qwen3-{size}": shape for size, shape in _QWEN3.items()},
    **{f"meta-llama/Llama-3.2-1B{kind}": _LLAMA_1B for kind in ("", "-Instruct")},
    **{f"meta-llama/Llama-3.2-3B{kind}": _LLAMA_3B for kind in ("", "-Instruct")},
    **{f"meta-llama/Llama-3.1-8B{kind}": _LLAMA_8B for kind in ("", "-Instruct")},
    **{f"meta-llama/Llama-3.1-70B{kind}": _LLAMA_70B for kind in ("", "-Instruct")},
    **{f"HuggingFaceTB/SmolLM2-{size}{kind}": shape for size, shape in _SMOLLM2.items() for kind in ("", "-Instruct")},
    "mistralai/Mistral-7B-Instruct-v0.3": _shape("mistral", 4096, 32, 32, 8, 14336, 32768, 32768),
    "mistralai/Mistral-7B-v0.3": _shape("mistral", 4096, 32, 32, 8, 14336, 32768, 32768),
    "microsoft/Phi-3-mini-4k-instruct": _shape("phi3", 3072, 32, 32, 32, 8192, 32064, 4096),
    "microsoft/phi-4": _shape("phi3", 5120, 40, 40, 10, 17920, 100352, 16384),
}


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
        has_qkv_bias=attention_bias or (family.qkv_bias and shape.get("qkv_bias") is not False),
        has_output_bias=attention_bias,
        has_mlp_bias=family.reads_mlp_bias and shape.get("mlp_bias") is True,
        rotary_fraction=_rotary_fraction(shape) if family.reads_rotary_fraction else 1.0,
        sliding_window=_sliding_window(shape, family),
        soft_caps_attention=family.reads_soft_caps and shape.get("attn_logit_softcapping") is not None,
        soft_caps_logits=family.reads_soft_caps and shape.get("final_logit_softcapping") is not None,
        experts=experts,
    )
    return facts if facts.num_parameters else attrs.evolve(facts, num_parameters=count_parameters(facts))


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
