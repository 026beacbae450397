"""Where each tensor of a transformers model goes in a GGUF file, and what happens to its values on the way."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping

import attrs

from backprop.plan.export.gguf.architectures import Architecture

EMBEDDING = "token_embd"
OUTPUT = "output"


class Change(enum.Enum):
    """What is done to the values."""

    NONE = "none"
    PERMUTE_QUERY = "rows of each query head from halves to pairs"
    PERMUTE_KEY = "rows of each key head from halves to pairs"
    ADD_ONE = "plus one"


@attrs.frozen
class Place:
    """A tensor's name in the file and the change to its values."""

    name: str
    """With its ``.weight`` or ``.bias``."""
    change: Change = Change.NONE


_TOP: Mapping[str, str] = {"model.embed_tokens": EMBEDDING, "model.norm": "output_norm", "lm_head": OUTPUT}
_LINEAR: Mapping[str, str] = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_FUSED: Mapping[str, str] = {
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_PERMUTED = {"attn_q": Change.PERMUTE_QUERY, "attn_k": Change.PERMUTE_KEY}
_IN_LAYER = re.compile(r"model\.layers\.(?P<layer>\d+)\.(?P<module>.+)")
_BUFFERS = re.compile(r".*(rotary_emb\.inv_freq|masked_bias|attn\.bias)")


def is_ignored(name: str) -> bool:
    """Buffers that old files hold and every reader computes anew."""
    return _BUFFERS.fullmatch(name) is not None


def place_of(name: str, architecture: Architecture) -> Place | None:
    """Where ``model.layers.0.self_attn.q_proj.weight`` goes; None when the architecture has no place for it."""
    module, _, part = name.rpartition(".")
    if part not in ("weight", "bias"):
        return None
    target = module_place(module, architecture)
    if target is None:
        return None
    kind = target.rpartition(".")[2]
    if part == "bias" and kind not in architecture.biases:
        return None
    if kind.endswith("norm"):
        return Place(f"{target}.{part}", Change.ADD_ONE if architecture.adds_one else Change.NONE)
    change = _PERMUTED.get(kind, Change.NONE) if architecture.permutes else Change.NONE
    return Place(f"{target}.{part}", change)


def module_place(module: str, architecture: Architecture) -> str | None:
    """Where a module's tensors go, without their ending: ``blk.0.attn_q``."""
    if module in _TOP:
        return _TOP[module]
    match = _IN_LAYER.fullmatch(module)
    if match is None:
        return None
    linear = _FUSED if architecture.is_fused else _LINEAR
    kind = linear.get(match["module"]) or architecture.norms.get(match["module"])
    return None if kind is None else f"blk.{match['layer']}.{kind}"


def kind_of(name: str) -> str:
    """``attn_q`` of ``blk.3.attn_q.weight``; ``token_embd`` of ``token_embd.weight``."""
    return name.rpartition(".")[0].rpartition(".")[2]


def layer_of(name: str) -> int:
    """3 of ``blk.3.attn_q.weight``."""
    return int(name.split(".")[1])


def expected_modules(architecture: Architecture, num_layers: int) -> tuple[str, ...]:
    """Every module whose weights a model of the family has, but for the output head."""
    linear = _FUSED if architecture.is_fused else _LINEAR
    in_layer = (*linear, *architecture.norms)
    layers = (f"model.layers.{i}.{module}" for i in range(num_layers) for module in in_layer)
    return ("model.embed_tokens", "model.norm", *layers)
