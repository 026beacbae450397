"""The families whose models can be written to GGUF, and what llama.cpp's code for each of them takes for granted.

A table, so that a plan of training can say beforehand whether its result can be exported. Source: llama.cpp's
src/models/*.cpp, what each loads, and its converter's classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Architecture:
    """How a family's models are written."""

    name: str
    """``general.architecture``."""
    permutes: bool = False
    """Rotary pairs stand beside each other in the file, where transformers puts them half a head apart."""
    adds_one: bool = False
    """Norms multiply by (1 + weight) in transformers, by the weight in the file."""
    activation: tuple[str, ...] = ("silu",)
    """The activations that the code computes."""
    norms: Mapping[str, str] = attrs.field(factory=dict)
    """Names of norms in a layer, transformers' to the file's."""
    is_fused: bool = False
    """``qkv_proj`` and ``gate_up_proj``."""
    biases: frozenset[str] = frozenset()
    """Tensors of a layer, by the file's names, that may have a bias."""
    takes_output: bool = True
    """The file may have an output head of its own."""
    needs_output: bool = False
    """The file must have one, even where it equals the embedding."""
    scalings: frozenset[str] = frozenset({"linear", "yarn"})
    """Changes to the rotary embedding that the code computes."""
    head_is_hidden: bool = False
    """Heads together must be as wide as the model."""
    writes_rope_dimension: bool = False


_LLAMA_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
_QK_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
_GEMMA2_NORMS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_QKV = frozenset({"attn_q", "attn_k", "attn_v"})
_EVERY = _QKV | {"attn_output", "ffn_gate", "ffn_up", "ffn_down"}
_GELU = ("gelu_pytorch_tanh", "gelu")
"""Gemma's older configurations say ``gelu`` and mean the approximation by a hyperbolic tangent."""

_LLAMA = Architecture(
    "llama",
    permutes=True,
    norms=_LLAMA_NORMS,
    biases=_EVERY,
    scalings=frozenset({"linear", "yarn", "llama3"}),
    writes_rope_dimension=True,
)

ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "smollm3": Architecture("smollm3", permutes=True, norms=_LLAMA_NORMS, biases=_QKV, writes_rope_dimension=True),
    "granite": attrs.evolve(_LLAMA, name="granite", head_is_hidden=True),
    "qwen2": Architecture("qwen2", norms=_LLAMA_NORMS, biases=_QKV, head_is_hidden=True),
    "qwen3": Architecture("qwen3", norms={**_LLAMA_NORMS, **_QK_NORMS}, biases=_QKV),
    "phi3": Architecture(
        "phi3",
        norms=_LLAMA_NORMS,
        is_fused=True,
        scalings=frozenset({"longrope"}),
        head_is_hidden=True,
        writes_rope_dimension=True,
    ),
    "olmo2": Architecture(
        "olmo2",
        norms={
            **_QK_NORMS,
            "post_attention_layernorm": "post_attention_norm",
            "post_feedforward_layernorm": "post_ffw_norm",
        },
        needs_output=True,
        head_is_hidden=True,
    ),
    "gemma": Architecture("gemma", adds_one=True, activation=_GELU, norms=_LLAMA_NORMS, takes_output=False),
    "gemma2": Architecture("gemma2", adds_one=True, activation=_GELU, norms=_GEMMA2_NORMS, takes_output=False),
    "gemma3_text": Architecture("gemma3", adds_one=True, activation=_GELU, norms={**_GEMMA2_NORMS, **_QK_NORMS}),
}
"""By ``model_type``."""


def architecture_of(model_type: str) -> Architecture | None:
    """How models of a family are written; None for a family that is not among them."""
    return ARCHITECTURES.get(model_type)


def names_of_families() -> str:
    """For messages."""
    return ", ".join(sorted(ARCHITECTURES))
