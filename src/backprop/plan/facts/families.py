"""What the code of each family of models fixes, whatever a configuration says: layers, biases, norms, windows, experts.

Families are told by ``model_type``; one that is not named here counts as plain Llama without biases, and plans say so.
Source: transformers 5.23, models/*/modeling_*.py and configuration_*.py.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from backprop.plan.facts.model import LinearLayer


class NormKind(enum.Enum):
    """How a root-mean-square norm applies its weight."""

    LLAMA = "cast back, then weighted"
    OLMO = "weighted in fp32, then cast back"
    GEMMA = "times (1 + weight) in fp32, then cast back"


class NormPlace(enum.Enum):
    """Which norms stand around attention and around the feed-forward network."""

    BEFORE = "before each"
    AFTER = "after each"
    BOTH = "before and after each"


class QueryNorm(enum.Enum):
    """Norms on queries and keys."""

    NONE = "none"
    HEAD = "of each head"
    WIDE = "of all heads together"


class Window(enum.Enum):
    """Which layers follow ``sliding_window``."""

    NONE = "none"
    SOME = "some"
    ALL = "all"


class EmbeddingScale(enum.Enum):
    """Where embeddings are multiplied."""

    NONE = "nowhere"
    MODULE = "inside of the embedding, by a buffer"
    MODEL = "behind the embedding, by a number"


@attrs.frozen
class ExpertKeys:
    """Where a family's configuration says how its mixture is made."""

    count: tuple[str, ...]
    width: str
    shared_width: str = ""
    """Key of the width of an expert for every token; empty where there is none."""
    has_plain_layers: bool = False
    """``mlp_only_layers`` and ``decoder_sparse_step`` tell layers without experts."""


@attrs.frozen
class Family:
    """A family's code."""

    is_fused: bool = False
    """Query, key, value stand in one ``qkv_proj``, gate and up in one ``gate_up_proj``."""
    qkv_bias: bool = False
    reads_attention_bias: bool = False
    """``attention_bias``: a bias on queries, keys, values and output."""
    reads_mlp_bias: bool = False
    """``mlp_bias``: a bias on gate, up and down."""
    reads_rotary_fraction: bool = False
    """``partial_rotary_factor``: the part of each head that the rotary embedding turns."""
    reads_soft_caps: bool = False
    norm: NormKind = NormKind.LLAMA
    norm_place: NormPlace = NormPlace.BEFORE
    query_norm: QueryNorm = QueryNorm.NONE
    window: Window = Window.NONE
    asks_for_window: bool = False
    """``sliding_window`` counts only with ``use_sliding_window``."""
    embedding_scale: EmbeddingScale = EmbeddingScale.NONE
    scales_residuals: bool = False
    """Granite: what attention and network add is multiplied first, and logits are divided."""
    experts: ExpertKeys | None = None
    rotates_in_fp32: bool = False
    """OLMo 2 and 3 turn queries and keys in fp32, others in their own dtype."""
    scores_in_fp32: bool = False
    """Mixtral weighs what its experts give in fp32."""


FAMILIES: Mapping[str, Family] = {
    "llama": Family(reads_attention_bias=True, reads_mlp_bias=True),
    "mistral": Family(window=Window.ALL),
    "qwen2": Family(qkv_bias=True, window=Window.SOME, asks_for_window=True),
    "qwen3": Family(reads_attention_bias=True, query_norm=QueryNorm.HEAD, window=Window.SOME, asks_for_window=True),
    "smollm3": Family(reads_attention_bias=True, reads_mlp_bias=True, window=Window.SOME, asks_for_window=True),
    "granite": Family(
        reads_attention_bias=True,
        reads_mlp_bias=True,
        embedding_scale=EmbeddingScale.MODEL,
        scales_residuals=True,
    ),
    "phi3": Family(is_fused=True, reads_rotary_fraction=True, window=Window.ALL),
    "olmo2": Family(
        reads_attention_bias=True,
        norm=NormKind.OLMO,
        norm_place=NormPlace.AFTER,
        query_norm=QueryNorm.WIDE,
        rotates_in_fp32=True,
    ),
    "olmo3": Family(
        reads_attention_bias=True,
        norm=NormKind.OLMO,
        norm_place=NormPlace.AFTER,
        query_norm=QueryNorm.WIDE,
        rotates_in_fp32=True,
        window=Window.SOME,
    ),
    "gemma": Family(reads_attention_bias=True, norm=NormKind.GEMMA, embedding_scale=EmbeddingScale.MODULE),
    "gemma2": Family(
        reads_attention_bias=True,
        reads_soft_caps=True,
        norm=NormKind.GEMMA,
        norm_place=NormPlace.BOTH,
        window=Window.SOME,
        embedding_scale=EmbeddingScale.MODULE,
    ),
    "gemma3_text": Family(
        reads_attention_bias=True,
        norm=NormKind.GEMMA,
        norm_place=NormPlace.BOTH,
        query_norm=QueryNorm.HEAD,
        window=Window.SOME,
        embedding_scale=EmbeddingScale.MODULE,
    ),
    "mixtral": Family(
        window=Window.ALL,
        experts=ExpertKeys(("num_local_experts", "num_experts"), "intermediate_size"),
        scores_in_fp32=True,
    ),
    "qwen3_moe": Family(
        reads_attention_bias=True,
        query_norm=QueryNorm.HEAD,
        window=Window.ALL,
        asks_for_window=True,
        experts=ExpertKeys(("num_experts", "num_local_experts"), "moe_intermediate_size", has_plain_layers=True),
    ),
    "qwen2_moe": Family(
        qkv_bias=True,
        window=Window.SOME,
        asks_for_window=True,
        experts=ExpertKeys(
            ("num_experts",), "moe_intermediate_size", "shared_expert_intermediate_size", has_plain_layers=True
        ),
    ),
    "olmoe": Family(
        reads_attention_bias=True,
        query_norm=QueryNorm.WIDE,
        experts=ExpertKeys(("num_experts", "num_local_experts"), "intermediate_size"),
    ),
}

_TIED = (
    "biogpt", "bloom", "cohere", "cohere2", "cohere2_moe", "cohere_compass_text", "ernie4_5", "ernie4_5_moe",
    "falcon", "falcon_mamba", "gemma3n_text", "gemma4_text", "gemma4_unified_text", "gpt2", "gpt_bigcode",
    "gpt_neo", "gpt_neox_japanese", "granite_swa", "jetmoe", "lara_mini", "lfm2", "lfm2_moe", "lfm3", "mamba",
    "minicpm3", "modernbert-decoder", "mpt", "openai-gpt", "opt", "recurrent_gemma", "smollm3", "starcoder2",
    "vaultgemma", "xglm", "youtu", "zamba", "zamba2", "zaya",
)  # fmt: skip
"""Families whose head is the embedding unless the configuration says otherwise."""

FAMILY_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    **{family: {"tie_word_embeddings": True} for family in _TIED},
    "gemma": {"tie_word_embeddings": True, "head_dim": 256},
    "gemma2": {
        "tie_word_embeddings": True,
        "head_dim": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    },
    "gemma3_text": {
        "tie_word_embeddings": True,
        "head_dim": 256,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 262208,
        "sliding_window": 4096,
    },
    "mistral": {"sliding_window": 4096},
    "mixtral": {"num_experts_per_tok": 2},
    "olmo3": {"sliding_window": 4096},
    "olmoe": {"num_experts_per_tok": 8},
    "qwen2_moe": {
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 1408,
        "shared_expert_intermediate_size": 5632,
    },
    "qwen3_moe": {"num_experts_per_tok": 8, "moe_intermediate_size": 768},
}
"""What published configurations leave out where it is their family's default."""


def is_known(model_type: str) -> bool:
    """Whether the family's code was read, so that nothing about it is a guess."""
    return model_type in FAMILIES


def family_of(model_type: str) -> Family:
    """The family that ``model_type`` names, or plain Llama."""
    return FAMILIES.get(model_type, _PLAIN)


_PLAIN = Family()


def linear_layers_of(
    model_type: str,
    *,
    hidden_size: int,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    intermediate_size: int,
    has_experts: bool = False,
) -> tuple[LinearLayer, ...]:
    """The linear layers of every decoder layer in the Llama lineage, with their true grouped-query shapes.

    Experts are no linear layers: transformers 5 holds all of a layer's in two three-dimensional parameters, which
    neither an adapter on linear layers nor quantization to 4 bits reaches.
    """
    q, kv = num_heads * head_dim, num_kv_heads * head_dim
    if family_of(model_type).is_fused:
        return (
            LinearLayer("qkv_proj", hidden_size, q + 2 * kv),
            LinearLayer("o_proj", q, hidden_size),
            LinearLayer("gate_up_proj", hidden_size, 2 * intermediate_size),
            LinearLayer("down_proj", intermediate_size, hidden_size),
        )
    attention = (
        LinearLayer("q_proj", hidden_size, q),
        LinearLayer("k_proj", hidden_size, kv),
        LinearLayer("v_proj", hidden_size, kv),
        LinearLayer("o_proj", q, hidden_size),
    )
    if has_experts:
        return attention
    return (
        *attention,
        LinearLayer("gate_proj", hidden_size, intermediate_size),
        LinearLayer("up_proj", hidden_size, intermediate_size),
        LinearLayer("down_proj", intermediate_size, hidden_size),
    )
