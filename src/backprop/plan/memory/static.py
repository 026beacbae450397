"""What lives through the whole step: weights, quantization state, adapters, optimizer state. All counts are exact."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from backprop.plan.facts.families import EmbeddingScale
from backprop.plan.facts.model import LinearLayer
from backprop.plan.facts.parameters import Tensors, parameters_of
from backprop.plan.memory.device import Device
from backprop.plan.memory.objective import Objective
from backprop.plan.memory.optimizer_state import state_bytes
from backprop.plan.memory.parameter import ParameterGroup, rounded
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import ALL_LINEAR, MemoryMethod, TrainingShape


def is_target(training: TrainingShape, name: str) -> bool:
    """Whether an adapter stands on the linear layer ``name``."""
    return training.method is not MemoryMethod.FULL and _names(training.targets, name)


def _names(targets: tuple[str, ...], name: str) -> bool:
    return ALL_LINEAR in targets or name in targets


def weight_groups(model: MemoryShape, *, itemsize: int) -> tuple[ParameterGroup, ...]:
    """All weights of the base model in one format."""
    return tuple(_group(tensors, itemsize) for tensors in parameters_of(model))


def _group(tensors: Tensors, itemsize: int) -> ParameterGroup:
    return ParameterGroup(
        tensors.numel, itemsize, tensors.count, columns=tensors.columns, is_embedding=tensors.is_embedding
    )


@functools.lru_cache(maxsize=256)
def adapter_groups(
    layers: tuple[LinearLayer, ...], targets: tuple[str, ...], *, num_layers: int, rank: int, itemsize: int, dora: bool
) -> tuple[ParameterGroup, ...]:
    """A and B of each target among the linear ``layers``, and DoRA's magnitude, which stays in fp32."""
    groups = []
    for linear in layers:
        if not _names(targets, linear.name):
            continue
        count = linear.times(num_layers)
        groups += [
            ParameterGroup(rank * linear.in_features, itemsize, count, columns=linear.in_features),
            ParameterGroup(rank * linear.out_features, itemsize, count, columns=rank),
        ]
        if dora:
            groups.append(ParameterGroup(linear.out_features, 4, count))
    return tuple(groups)


def trainable_parameters(model: MemoryShape, training: TrainingShape) -> tuple[ParameterGroup, ...]:
    """Every tensor that the optimizer steps."""
    if training.method is MemoryMethod.FULL:
        return weight_groups(model, itemsize=training.weight_itemsize)
    return adapter_groups(
        model.linear_layers,
        training.targets,
        num_layers=model.num_layers,
        rank=training.rank,
        itemsize=training.adapter_itemsize,
        dora=training.method.is_dora,
    )


def static_bytes(
    model: MemoryShape, training: TrainingShape, trainable: tuple[ParameterGroup, ...]
) -> dict[TermName, int]:
    """Bytes by term of what lives on the card through the whole step; ``trainable`` is what the optimizer steps."""
    workspace = training.workspace_bytes if training.device is Device.CUDA else 0
    workspace += _float8_workspace(model, training)
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
                float8_layers=training.float8_layers,
            )
        )
    if training.keeps_gradients:
        terms[TermName.GRADIENTS] = terms[TermName.TRAINABLE_WEIGHTS]
    return terms


@functools.lru_cache(maxsize=256)
def _frozen(
    model: MemoryShape, *, itemsize: int, is_quantized: bool, nested: bool, float8_layers: tuple[str, ...]
) -> tuple[tuple[TermName, int], ...]:
    if float8_layers:
        numels = [one.in_features * one.out_features for one in model.linear_layers if one.name in float8_layers]
        saved = sum(rounded(itemsize * numel) - rounded(numel) - rounded(4) for numel in numels) * model.num_layers
        return ((TermName.FROZEN_WEIGHTS, total_bytes(weight_groups(model, itemsize=itemsize)) - saved),)
    if not is_quantized:
        return ((TermName.FROZEN_WEIGHTS, total_bytes(weight_groups(model, itemsize=itemsize))),)
    base = total_bytes(_group(tensors, itemsize) for tensors in parameters_of(model) if not tensors.is_linear)
    numels = [linear.in_features * linear.out_features for linear in model.linear_layers]
    packed = sum(rounded(-(-numel // 2)) for numel in numels)
    state = sum(quantization_state_bytes(numel, nested=nested) for numel in numels)
    return (
        (TermName.FROZEN_WEIGHTS, base + packed * model.num_layers),
        (TermName.QUANTIZATION_STATE, state * model.num_layers),
    )


FLOAT8_CAST_BYTES = 9
"""Of each element that is cast: fp32 scaled, fp32 clamped, and the float8 result (torchao/float8/float8_utils.py)."""


def _float8_workspace(model: MemoryShape, training: TrainingShape) -> int:
    """What one float8 product takes for itself: its input or gradient on the way to float8, the weight turned round.

    Counted as alive all the time, which is an upper bound of what is alive at the peak.
    """
    layers = [one for one in model.linear_layers if one.name in training.float8_layers]
    tokens = training.sequences * training.sequence
    casts = [FLOAT8_CAST_BYTES * tokens * max(one.in_features, one.out_features) for one in layers]
    turned = [one.in_features * one.out_features for one in layers]
    return max(map(sum, zip(casts, turned, strict=True)), default=0)


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


def _input_bytes(model: MemoryShape, training: TrainingShape) -> int:
    """The batch, int64: token ids, labels, and a mask where one is needed; judged answers always have one.

    Besides rotary frequencies (twice) and the embeddings' scale, fp32.
    """
    tokens = rounded(8 * training.sequences * training.sequence)
    has_mask = training.pad_mask or training.packed or training.objective is not Objective.SFT
    num_tensors = 3 if has_mask else 2
    frequencies = rounded(4 * int(model.head_dim * model.rotary_fraction) // 2)
    scale = rounded(4) if model.family.embedding_scale is EmbeddingScale.MODULE else 0
    return tokens * num_tensors + 2 * frequencies + scale


def total_bytes(groups: Iterable[ParameterGroup]) -> int:
    """All tensors of the groups, as the allocator rounds them."""
    return sum(group.count * rounded(group.numel * group.itemsize) for group in groups)
