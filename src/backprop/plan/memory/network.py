"""Builds the layers of a structure, with a parameter for each weight that may be trained."""

from __future__ import annotations

from backprop.plan.facts.families import NormKind, NormPlace, QueryNorm
from backprop.plan.facts.parameters import has_bias
from backprop.plan.memory.attention import Attention, AttentionKind
from backprop.plan.memory.autograd import Dims, Tensor
from backprop.plan.memory.decoder_layer import DecoderLayer, Mlp, RmsNorm
from backprop.plan.memory.experts import Mixture
from backprop.plan.memory.projection import Projection
from backprop.plan.memory.structure import StepStructure


def weight(structure: StepStructure, dims: Dims) -> Tensor:
    """A weight of the base model; it takes no memory on the tape."""
    return Tensor(dims, structure.weight_itemsize, None, needs_grad=structure.is_full)


def norm(structure: StepStructure, dims: Dims, rows: Dims) -> RmsNorm:
    """A norm over ``dims``, with one statistic for each of ``rows``."""
    return RmsNorm(weight(structure, dims), rows, structure.family.norm)


def decoder_layer(structure: StepStructure) -> DecoderLayer:
    """One layer with parameters of its own."""
    s = structure
    is_before = s.family.norm_place is not NormPlace.AFTER
    is_after = s.family.norm_place is not NormPlace.BEFORE
    return DecoderLayer(
        input_norm=norm(s, ("H",), ("T",)) if is_before else None,
        attention=_attention(s),
        attention_norm=norm(s, ("H",), ("T",)) if is_after else None,
        mlp_norm=norm(s, ("H",), ("T",)) if is_before else None,
        mlp=_mlp(s),
        output_norm=norm(s, ("H",), ("T",)) if is_after else None,
        scales_residuals=s.family.scales_residuals,
    )


def _attention(s: StepStructure) -> Attention:
    kind = AttentionKind(
        kernel=s.kernel,
        is_grouped=s.is_grouped,
        has_one_kv_head=s.has_one_kv_head,
        rotates_part=s.family.reads_rotary_fraction,
        soft_caps=s.soft_caps_attention,
        copies_batched=s.is_batched,
        norms_last=s.family.norm is NormKind.GEMMA,
        device=s.device,
    )
    query_norm, key_norm = _query_norms(s)
    if s.family.is_fused:
        query = _projection(s, "qkv_proj", "H", "QKV")
        key = value = None
    else:
        query = _projection(s, "q_proj", "H", "Q")
        key = _projection(s, "k_proj", "H", "K")
        value = _projection(s, "v_proj", "H", "K")
    return Attention(
        kind=kind,
        query=query,
        key=key,
        value=value,
        output=_projection(s, "o_proj", "Q", "H"),
        query_norm=query_norm,
        key_norm=key_norm,
    )


def _query_norms(s: StepStructure) -> tuple[RmsNorm | None, RmsNorm | None]:
    if s.family.query_norm is QueryNorm.HEAD:
        return norm(s, ("D",), ("T", "N")), norm(s, ("D",), ("T", "G"))
    if s.family.query_norm is QueryNorm.WIDE:
        return norm(s, ("Q",), ("T",)), norm(s, ("K",), ("T",))
    return None, None


def _mlp(s: StepStructure) -> Mlp | Mixture:
    if s.has_experts:
        return Mixture(
            router=weight(s, ("E", "H")),
            gate_up=weight(s, ("E", "2I", "H")),
            down=weight(s, ("E", "H", "I")),
            scores_in_fp32=s.family.scores_in_fp32,
        )
    down = _projection(s, "down_proj", "F", "H")
    if s.family.is_fused:
        return Mlp(None, _projection(s, "gate_up_proj", "H", "2F"), down)
    gate = _projection(s, "gate_proj", "H", "F")
    return Mlp(gate, _projection(s, "up_proj", "H", "F"), down)


def _projection(s: StepStructure, name: str, inputs: str, outputs: str) -> Projection:
    base = Projection(
        inputs=inputs,
        outputs=outputs,
        weight=weight(s, (outputs, inputs)),
        bias=weight(s, (outputs,)) if has_bias(s, name) else None,
        is_quantized=s.is_quantized,
    )
    if name not in s.targets:
        return base
    return Projection(
        inputs=inputs,
        outputs=outputs,
        weight=base.weight,
        bias=base.bias,
        is_quantized=s.is_quantized,
        lora_a=Tensor(("R", inputs), s.adapter_itemsize, None, needs_grad=True),
        lora_b=Tensor((outputs, "R"), s.adapter_itemsize, None, needs_grad=True),
        magnitude=Tensor((outputs,), 4, None, needs_grad=True) if s.is_dora else None,
        dropout=s.dropout,
    )
