"""What is trained on: the numbers of a decoder-only model that its memory depends on."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from backprop.plan.facts.architectures import facts_from_config
from backprop.plan.facts.families import (
    Family,
    family_of,
)
from backprop.plan.facts.model import Experts, LinearLayer, ModelFacts, ModelSource


@attrs.frozen(cache_hash=True)
class MemoryShape:
    """A decoder-only language model of the Llama lineage."""

    model_type: str
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tie_word_embeddings: bool
    linear_layers: tuple[LinearLayer, ...]
    """Of every decoder layer; as its files show them, where they were seen."""
    has_qkv_bias: bool = False
    has_output_bias: bool = False
    has_mlp_bias: bool = False
    soft_caps_attention: bool = False
    soft_caps_logits: bool = False
    rotary_fraction: float = 1.0
    """Part of each head that the rotary embedding turns."""
    sliding_window: int | None = None
    """Tokens that layers with a window look back at; None when all layers see everything."""
    experts: Experts | None = None

    @classmethod
    def of(cls, facts: ModelFacts) -> MemoryShape:
        """The shape that the facts of a model declare."""
        return cls(
            model_type=facts.model_type,
            num_layers=facts.num_layers,
            hidden_size=facts.hidden_size,
            num_heads=facts.num_heads,
            num_kv_heads=facts.num_kv_heads,
            head_dim=facts.head_dim,
            intermediate_size=facts.intermediate_size,
            vocab_size=facts.vocab_size,
            tie_word_embeddings=facts.tie_word_embeddings,
            linear_layers=facts.linear_layers,
            has_qkv_bias=facts.has_qkv_bias,
            has_output_bias=facts.has_output_bias,
            has_mlp_bias=facts.has_mlp_bias,
            soft_caps_attention=facts.soft_caps_attention,
            soft_caps_logits=facts.soft_caps_logits,
            rotary_fraction=facts.rotary_fraction,
            sliding_window=facts.sliding_window,
            experts=facts.experts,
        )

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> MemoryShape:
        """The shape that a ``config.json`` declares, for benchmarks and tests. Raises as ``facts_from_config`` does."""
        return cls.of(facts_from_config(config, name="", source=ModelSource.TABLE))

    @property
    def family(self) -> Family:
        """What the code of its ``model_type`` fixes."""
        return family_of(self.model_type)

    @property
    def query_width(self) -> int:
        """Features of all heads' queries."""
        return self.num_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Features of all key-value heads' keys."""
        return self.num_kv_heads * self.head_dim
