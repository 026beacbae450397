"""What is known of each family of models: its linear layers, biases and norms, and so its number of parameters.

Families are told by ``model_type``; one that is not named here counts as plain Llama.
"""

from __future__ import annotations

from collections.abc import Mapping

from backprop.plan.facts.model import LinearLayer

FUSED_FAMILIES = frozenset({"phi3"})
"""Families whose query, key, value stand in one ``qkv_proj`` and whose gate and up stand in one ``gate_up_proj``."""

QKV_BIAS_FAMILIES = frozenset({"qwen2"})
ATTENTION_BIAS_FAMILIES = frozenset(
    {"llama", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3", "granite", "olmo2", "olmo3"}
)
"""Families that follow ``attention_bias``: a bias on queries, keys, values and output."""
MLP_BIAS_FAMILIES = frozenset({"llama", "smollm3", "granite"})
"""Families that follow ``mlp_bias``: a bias on gate, up and down."""
QK_NORM_FAMILIES = frozenset({"qwen3", "gemma3", "gemma3_text"})
"""Families with a norm of head_dim weights on queries and keys."""
WIDE_QK_NORM_FAMILIES = frozenset({"olmo2", "olmo3"})
"""Families with norms over all queries and over all keys."""
FOUR_NORM_FAMILIES = frozenset({"gemma2", "gemma3", "gemma3_text"})

FAMILY_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "cohere": {"tie_word_embeddings": True},
    "cohere2": {"tie_word_embeddings": True},
    "gemma": {"tie_word_embeddings": True, "head_dim": 256},
    "gemma2": {"tie_word_embeddings": True, "head_dim": 256},
    "gemma3_text": {
        "tie_word_embeddings": True,
        "head_dim": 256,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 262208,
    },
    "smollm3": {"tie_word_embeddings": True},
}
"""What published configurations leave out where it is their family's default."""


def linear_layers_of(
    model_type: str, *, hidden_size: int, num_heads: int, num_kv_heads: int, head_dim: int, intermediate_size: int
) -> tuple[LinearLayer, ...]:
    """The linear layers of one decoder layer in the Llama lineage, with their true grouped-query shapes."""
    q, kv = num_heads * head_dim, num_kv_heads * head_dim
    if model_type in FUSED_FAMILIES:
        return (
            LinearLayer("qkv_proj", hidden_size, q + 2 * kv),
            LinearLayer("o_proj", q, hidden_size),
            LinearLayer("gate_up_proj", hidden_size, 2 * intermediate_size),
            LinearLayer("down_proj", intermediate_size, hidden_size),
        )
    return (
        LinearLayer("q_proj", hidden_size, q),
        LinearLayer("k_proj", hidden_size, kv),
        LinearLayer("v_proj", hidden_size, kv),
        LinearLayer("o_proj", q, hidden_size),
        LinearLayer("gate_proj", hidden_size, intermediate_size),
        LinearLayer("up_proj", hidden_size, intermediate_size),
        LinearLayer("down_proj", intermediate_size, hidden_size),
    )


def count_parameters(
    model_type: str,
    layers: tuple[LinearLayer, ...],
    *,
    num_layers: int,
    hidden_size: int,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    vocab_size: int,
    tied: bool,
    attention_bias: bool = False,
    mlp_bias: bool = False,
) -> int:
    """Every weight of the model: embeddings, head unless tied, linear layers, biases and norms."""
    qkv = (num_heads + 2 * num_kv_heads) * head_dim
    per_layer = sum(layer.in_features * layer.out_features for layer in layers)
    per_layer += (4 if model_type in FOUR_NORM_FAMILIES else 2) * hidden_size
    if model_type in QKV_BIAS_FAMILIES:
        per_layer += qkv
    if attention_bias and model_type in ATTENTION_BIAS_FAMILIES:
        per_layer += qkv + hidden_size
    if mlp_bias and model_type in MLP_BIAS_FAMILIES:
        per_layer += sum(layer.out_features for layer in layers if layer.name in ("gate_proj", "up_proj", "down_proj"))
    if model_type in QK_NORM_FAMILIES:
        per_layer += 2 * head_dim
    if model_type in WIDE_QK_NORM_FAMILIES:
        per_layer += (num_heads + num_kv_heads) * head_dim
    return vocab_size * hidden_size * (1 if tied else 2) + num_layers * per_layer + hidden_size
