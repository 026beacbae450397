"""The model: the shape its configuration and its weight files declare."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.facts.absent import Absent


class ModelSource(enum.Enum):
    """Where the model's description was found."""

    DIRECTORY = "local directory"
    HUB_CACHE = "Hub cache"
    HUB = "Hub"
    TABLE = "built-in table"


@attrs.frozen
class LinearLayer:
    """A kind of linear layer that stands in every decoder layer, such as ``q_proj``."""

    name: str
    in_features: int
    out_features: int


@attrs.frozen
class ModelFacts:
    """A decoder-only language model."""

    name: str
    """As the user gave it; for a directory the absolute path."""
    source: ModelSource
    directory: str | None
    """Where its files stand on this machine; None when only its shape is known."""
    commit: str | None
    """The Hub revision of the snapshot."""
    model_type: str
    num_parameters: int
    num_layers: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tie_word_embeddings: bool
    max_position_embeddings: int | None
    linear_layers: tuple[LinearLayer, ...]
    """The layers that an adapter can target, one of each kind, in the order of the forward pass."""
    weights_bytes: int | None
    """Size of the weight files; None when they are not on this machine."""
    weights_dtype: str
    """As stored: ``bfloat16``, ``float32``, …"""
    is_quantized: bool = False
    """The weights are stored quantized (a pre-quantized repository)."""
    files_absent: Absent | None = None
    """Why no file of it stands on this machine; None when ``directory`` is known."""


@attrs.frozen
class TokenizerFacts:
    """What a plan needs to know of the tokenizer."""

    fingerprint: str
    """SHA-256 of tokenizer.json."""
    vocab_size: int
    bos_token: str | None
    eos_token: str | None
    eos_token_id: int | None
    pad_token_id: int
    """The id that fills sequences up; such places are never attended to nor learned."""
    chat_template: str | None
    """Jinja source; None when the model ships none."""
    chat_template_name: str
    """``the model's own``, or what ``--chat-template`` named; empty without one."""
    chat_template_note: str = ""
    """How a built-in template was fitted to the vocabulary; empty when it stands as it is."""
