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
    """A kind of linear layer in the decoder layers, such as ``q_proj``."""

    name: str
    in_features: int
    out_features: int
    some: int | None = None
    """How many decoder layers have one, where not all of them do: hybrid models attend in some layers only."""

    def times(self, num_layers: int) -> int:
        """How many there are in a model of ``num_layers`` decoder layers."""
        return num_layers if self.some is None else self.some


@attrs.frozen
class Experts:
    """Feed-forward networks of which a router chooses some for each token; all of them stay in memory."""

    count: int
    """In each layer that has them."""
    per_token: int
    intermediate_size: int
    num_layers: int
    """Decoder layers that have experts; the others have one plain network of the model's intermediate size."""
    shared_intermediate_size: int = 0
    """Width of one more expert that every token passes; 0 without one."""


class FourBit(enum.Enum):
    """How bitsandbytes stores weights in 4 bits; NF4 and FP4 take the same room."""

    PLAIN = "4-bit"
    DOUBLE = "4-bit, double quantization"


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
    """The layers that an adapter can target, one of each kind, in the order of the forward pass; no experts."""
    weights_bytes: int | None
    """Size of the weight files; None when they are not on this machine."""
    weights_dtype: str
    """As stored: ``bfloat16``, ``float32``, …"""
    is_quantized: bool = False
    """The weights are stored quantized (a pre-quantized repository)."""
    four_bit: FourBit | None = None
    """Where the weights are stored quantized, by bitsandbytes, every linear layer but the head: in which 4 bits."""
    files_absent: Absent | None = None
    """Why no file of it stands on this machine; None when ``directory`` is known."""
    has_qkv_bias: bool = False
    has_output_bias: bool = False
    """A bias on attention's output projection."""
    has_mlp_bias: bool = False
    rotary_fraction: float = 1.0
    """Part of each head that the rotary embedding turns."""
    sliding_window: int | None = None
    """Tokens that layers with a window look back at; None when all layers see everything."""
    soft_caps_attention: bool = False
    """Gemma 2: scores are squeezed by a hyperbolic tangent, which fused attention kernels cannot."""
    soft_caps_logits: bool = False
    experts: Experts | None = None
    licence: str = ""
    """As its card names it, such as ``apache-2.0``; empty when nothing here says."""

    @property
    def parameters_of_an_expert(self) -> int:
        """Weights of one expert's gate, up and down; 0 in a dense model."""
        return 0 if self.experts is None else 3 * self.hidden_size * self.experts.intermediate_size

    @property
    def num_active_parameters(self) -> int:
        """Weights that one token passes: all of a dense model, of a mixture those of the experts chosen for it."""
        if self.experts is None:
            return self.num_parameters
        idle = self.experts.num_layers * (self.experts.count - self.experts.per_token)
        return self.num_parameters - idle * self.parameters_of_an_expert


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
    gguf_tokenizer: str | None = attrs.field(default="", eq=False)
    """What llama.cpp calls its like; None when it has none, empty when nobody looked."""
