"""What lives through the whole step: weights, quantization state, adapters, optimizer state. All counts are exact."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import attrs

from backprop.plan.facts.families import EmbeddingScale, NormPlace, QueryNorm, linear_layers_of
from backprop.plan.facts.model import Experts
from backprop.plan.memory.device import Device
from backprop.plan.memory.objective import Objective
from backprop.plan.memory.optimizer_state import state_bytes
from backprop.plan.memory.parameter import ParameterGroup, rounded
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import ALL_LINEAR, MemoryMethod, TrainingShape


@attrs.frozen
class LinearShape:
    """A linear layer of every decoder layer."""

    name: str
    in_features: int
    out_features: int
    has_bias: bool


@functools.lru_cache(maxsize=256)
def linear_shapes(model: MemoryShape) -> tuple[LinearShape, ...]:
    """The linear layers of one decoder layer, in the order of the forward pass."""
    layers = linear_layers_of(
        model.model_type,
        hidden_size=model.hidden,
        num_heads=model.num_heads,
        num_kv_heads=model.num_kv_heads,
        head_dim=model.head_dim,
        intermediate_size=model.intermediate,
        has_experts=model.experts is not None,
    )
    biased = {"o_proj": model.has_output_bias} | dict.fromkeys(("q_proj", "k_proj", "v_proj"), model.has_qkv_bias)
    return tuple(
        LinearShape(
            layer.name, layer.in_features, layer.out_features, has_bias=biased.get(layer.name, model.has_mlp_bias)
        )
        for layer in layers
    )


def is_target(training: TrainingShape, name: str) -> bool:
    """Whether an adapter stands on the linear layer ``name``."""
    return training.method is not MemoryMethod.FULL and (ALL_LINEAR in training.targets or name in training.targets)


def base_parameters(model: MemoryShape, linears: tuple[LinearShape, ...], *, itemsize: int) -> Iterator[ParameterGroup]:
    """Embeddings, head, norms and biases; all that is never quantized."""
    layers = model.num_layers
    yield ParameterGroup(model.vocab * model.hidden, itemsize, 1, columns=model.hidden, is_embedding=True)
    if not model.is_tied:
        yield ParameterGroup(model.vocab * model.hidden, itemsize, 1, columns=model.hidden)
    around = 4 if model.family.norm_place is NormPlace.BOTH else 2
    yield ParameterGroup(model.hidden, itemsize, layers * around + 1)
    if model.family.query_norm is QueryNorm.HEAD:
        yield ParameterGroup(model.head_dim, itemsize, 2 * layers)
    if model.family.query_norm is QueryNorm.WIDE:
        yield ParameterGroup(model.query_width, itemsize, layers)
        yield ParameterGroup(model.kv_width, itemsize, layers)
    for linear in linears:
        if linear.has_bias:
            yield ParameterGroup(linear.out_features, itemsize, layers)
    if model.experts is not None:
        yield from expert_parameters(model, model.experts, itemsize=itemsize)


def expert_parameters(model: MemoryShape, experts: Experts, *, itemsize: int) -> Iterator[ParameterGroup]:
    """Router and experts. bitsandbytes quantizes linear layers alone, so these keep their dtype."""
    layers, count, inner = experts.num_layers, experts.count, experts.intermediate_size
    yield ParameterGroup(count * model.hidden, itemsize, layers, columns=model.hidden)
    yield ParameterGroup(count * 2 * inner * model.hidden, itemsize, layers, columns=model.hidden)
    yield ParameterGroup(count * inner * model.hidden, itemsize, layers, columns=inner)


def linear_parameters(
    model: MemoryShape, linears: tuple[LinearShape, ...], *, itemsize: int
) -> Iterator[ParameterGroup]:
    """The matrices of the linear layers."""
    for linear in linears:
        numel = linear.in_features * linear.out_features
        yield ParameterGroup(numel, itemsize, model.num_layers, columns=linear.in_features)


def adapter_parameters(
    model: MemoryShape, linears: tuple[LinearShape, ...], training: TrainingShape
) -> Iterator[ParameterGroup]:
    """A and B of each target, and DoRA's magnitude, which stays in fp32."""
    for linear in linears:
        if not is_target(training, linear.name):
            continue
        itemsize = training.adapter_itemsize
        rank, layers = training.rank, model.num_layers
        yield ParameterGroup(rank * linear.in_features, itemsize, layers, columns=linear.in_features)
        yield ParameterGroup(rank * linear.out_features, itemsize, layers, columns=rank)
        if training.method.is_dora:
            yield ParameterGroup(linear.out_features, 4, model.num_layers)


def trainable_parameters(
    model: MemoryShape, linears: tuple[LinearShape, ...], training: TrainingShape
) -> tuple[ParameterGroup, ...]:
    """Every tensor that the optimizer steps."""
    if training.method is MemoryMethod.FULL:
        itemsize = training.weight_itemsize
        return (
            *base_parameters(model, linears, itemsize=itemsize),
            *linear_parameters(model, linears, itemsize=itemsize),
        )
    return tuple(adapter_parameters(model, linears, training))


def static_bytes(
    model: MemoryShape, training: TrainingShape, trainable: tuple[ParameterGroup, ...]
) -> dict[TermName, int]:
    """Bytes by term of what lives on the card through the whole step; ``trainable`` is what the optimizer steps."""
    workspace = training.workspace_bytes if training.device is Device.CUDA else 0
    terms = {TermName.WORKSPACE: workspace, TermName.INPUT: _input_bytes(model, training)}
    if training.offload:
        return terms
    terms[TermName.TRAINABLE_WEIGHTS] = total_bytes(trainable)
    terms[TermName.OPTIMIZER] = state_bytes(trainable, training)
    if training.method is not MemoryMethod.FULL:
        terms |= dict(
            _frozen(
                model,
                itemsize=training.weight_itemsize,
                is_quantized=training.method.is_quantized,
                nested=training.double_quantization,
            )
        )
    elif training.objective.has_reference:
        terms[TermName.FROZEN_WEIGHTS] = terms[TermName.TRAINABLE_WEIGHTS]  # a second model; adapters are switched off
    if training.keeps_gradients:
        terms[TermName.GRADIENTS] = terms[TermName.TRAINABLE_WEIGHTS]
    return terms


@functools.lru_cache(maxsize=256)
def _frozen(model: MemoryShape, *, itemsize: int, is_quantized: bool, nested: bool) -> tuple[tuple[TermName, int], ...]:
    linears = linear_shapes(model)
    base = total_bytes(base_parameters(model, linears, itemsize=itemsize))
    if not is_quantized:
        whole = total_bytes(linear_parameters(model, linears, itemsize=itemsize))
        return ((TermName.FROZEN_WEIGHTS, base + whole),)
    numels = [linear.in_features * linear.out_features for linear in linears]
    packed = sum(rounded(-(-numel // 2)) for numel in numels)
    state = sum(quantization_state_bytes(numel, nested=nested) for numel in numels)
    return (
        (TermName.FROZEN_WEIGHTS, base + packed * model.num_layers),
        (TermName.QUANTIZATION_STATE, state * model.num_layers),
    )


def quantization_state_bytes(numel: int, *, nested: bool) -> int:
    """NF4's state of one matrix: absmax of blocks of 64, and the code of 16 values.

    Nested: absmax in 8 bit with an fp32 absmax for 256 of them, their code of 256 values, and an offset
    (bitsandbytes/functional.py, ``QuantState``).
    """
    blocks = -(-numel // 64)
    code = rounded(16 * 4)
    if not nested:
        return rounded(4 * blocks) + code
    return rounded(blocks) + rounded(4 * -(-blocks // 256)) + rounded(256 * 4) + rounded(4) + code


_NUM_INPUTS = {Objective.ORPO: 14, Objective.SIMPO: 14, Objective.KTO: 7}
"""Tensors of (batch, sequence) token ids, labels and masks.

Pairs: three for chosen and rejected each, two for the prompt, and six in the concatenation of both. KTO: three for the
sequences and for those of the divergence each, and the labels. SFT: token ids, labels, and a mask where one is needed.
"""


def _input_bytes(model: MemoryShape, training: TrainingShape) -> int:
    """The batch, int64; rotary frequencies (twice) and the embeddings' scale, fp32."""
    tokens = rounded(8 * training.batch * training.sequence)
    num_tensors = _NUM_INPUTS.get(training.objective, 3 if training.pad_mask or training.packed else 2)
    frequencies = rounded(4 * int(model.head_dim * model.rotary_fraction) // 2)
    scale = rounded(4) if model.family.embedding_scale is EmbeddingScale.MODULE else 0
    return tokens * num_tensors + 2 * frequencies + scale


def total_bytes(groups: tuple[ParameterGroup, ...] | Iterator[ParameterGroup]) -> int:
    """All tensors of the groups, as the allocator rounds them."""
    return sum(group.count * rounded(group.numel * group.itemsize) for group in groups)
