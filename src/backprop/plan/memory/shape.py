"""What is trained on: the numbers of a decoder-only model that its memory depends on."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from backprop.plan.facts.architectures import facts_from_config
from backprop.plan.facts.families import (
    ATTENTION_BIAS_FAMILIES,
    FOUR_NORM_FAMILIES,
    FUSED_FAMILIES,
    MLP_BIAS_FAMILIES,
    QK_NORM_FAMILIES,
    QKV_BIAS_FAMILIES,
)
from backprop.plan.facts.model import ModelFacts, ModelSource

_ONE_PLUS_FAMILIES = frozenset({"gemma", "gemma2", "gemma3", "gemma3_text"})
"""Families whose norms multiply with (1 + weight) in fp32."""
_SOFT_CAP_FAMILIES = frozenset({"gemma2"})
_EXPERT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts")


@attrs.frozen
class MemoryShape:
    """A decoder-only language model of the Llama lineage."""

    model_type: str
    num_layers: int
    hidden: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    is_tied: bool
    """Embeddings and head are one matrix."""
    has_qkv_bias: bool = False
    has_output_bias: bool = False
    has_mlp_bias: bool = False
    has_qk_norm: bool = False
    is_fused: bool = False
    """One ``qkv_proj`` and one ``gate_up_proj``."""
    has_four_norms: bool = False
    one_plus_norms: bool = False
    soft_caps_attention: bool = False
    soft_caps_logits: bool = False
    scales_embeddings: bool = False
    rotary_fraction: float = 1.0
    """Part of each head that the rotary embedding turns."""
    num_experts: int = 0
    experts_per_token: int = 0

    @classmethod
    def of(cls, facts: ModelFacts) -> MemoryShape:
        """The shape that the facts of a model declare; biases that only its configuration tells are left out."""
        return cls(
            model_type=facts.model_type,
            num_layers=facts.num_layers,
            hidden=facts.hidden_size,
            num_heads=facts.num_heads,
            num_kv_heads=facts.num_kv_heads,
            head_dim=facts.head_dim,
            intermediate=facts.intermediate_size,
            vocab=facts.vocab_size,
            is_tied=facts.tie_word_embeddings,
            has_qkv_bias=facts.model_type in QKV_BIAS_FAMILIES,
            has_qk_norm=facts.model_type in QK_NORM_FAMILIES,
            is_fused=facts.model_type in FUSED_FAMILIES,
            has_four_norms=facts.model_type in FOUR_NORM_FAMILIES,
            one_plus_norms=facts.model_type in _ONE_PLUS_FAMILIES,
            soft_caps_attention=facts.model_type in _SOFT_CAP_FAMILIES,
            soft_caps_logits=facts.model_type in _SOFT_CAP_FAMILIES,
            scales_embeddings=facts.model_type in _ONE_PLUS_FAMILIES,
        )

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> MemoryShape:
        """The shape that a ``config.json`` declares. Raises ``ValueError`` naming a key that is missing."""
        facts = facts_from_config(config, name="", source=ModelSource.TABLE)
        inner = config.get("text_config")
        given = inner if isinstance(inner, Mapping) else config
        attention_bias = given.get("attention_bias") is True and facts.model_type in ATTENTION_BIAS_FAMILIES
        soft_caps = cls.of(facts).soft_caps_attention
        experts = next((value for key in _EXPERT_KEYS if isinstance(value := given.get(key), int)), 0)
        active = given.get("num_experts_per_tok")
        fraction = given.get("partial_rotary_factor")
        return attrs.evolve(
            cls.of(facts),
            has_qkv_bias=facts.model_type in QKV_BIAS_FAMILIES or attention_bias,
            has_output_bias=attention_bias,
            has_mlp_bias=given.get("mlp_bias") is True and facts.model_type in MLP_BIAS_FAMILIES,
            soft_caps_attention=soft_caps and given.get("attn_logit_softcapping", 50.0) is not None,
            soft_caps_logits=soft_caps and given.get("final_logit_softcapping", 30.0) is not None,
            rotary_fraction=float(fraction) if isinstance(fraction, (int, float)) else 1.0,
            num_experts=experts,
            experts_per_token=active if isinstance(active, int) else 0,
        )

    @property
    def query_width(self) -> int:
        """Features of all heads' queries."""
        return self.num_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Features of all key-value heads' keys."""
        return self.num_kv_heads * self.head_dim
