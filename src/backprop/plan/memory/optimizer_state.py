"""What an optimizer keeps between steps, what of it may leave the card, and what a step needs besides.

Sources: torch/optim/{adamw,sgd}.py (2.13), bitsandbytes/optim/optimizer.py (0.50), transformers/optimization.py and
trainer_optimizer.py (5.23); of our own AdamW backprop/effects/train/rounded_adamw.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from backprop.plan.memory.device import Device
from backprop.plan.memory.parameter import ParameterGroup, rounded
from backprop.plan.memory.training import MemoryOptimizer, TrainingShape
from backprop.plan.settings.training import Optimizer

Groups = tuple[ParameterGroup, ...]

ROUNDED_SLICE = 1 << 22
"""Elements that our own AdamW updates at once: a step's float32 copies take 100 MB at most, whatever the tensor."""

_MEMORY_OPTIMIZERS = {
    Optimizer.ADAMW_TORCH: MemoryOptimizer.ADAMW_FOREACH,
    Optimizer.ADAMW_TORCH_FUSED: MemoryOptimizer.ADAMW_FUSED,
    Optimizer.ADAMW_8BIT: MemoryOptimizer.ADAMW_8BIT,
    Optimizer.PAGED_ADAMW_8BIT: MemoryOptimizer.ADAMW_8BIT_PAGED,
    Optimizer.ADAFACTOR: MemoryOptimizer.ADAFACTOR,
    Optimizer.SGD: MemoryOptimizer.SGD_PLAIN,
}
_EIGHT_BIT = frozenset(memory for asked, memory in _MEMORY_OPTIMIZERS.items() if asked.has_8bit_states)
_MIN_8BIT_NUMEL = 4096
_MIN_PAGED_NUMEL = 100_000


def memory_optimizer(optimizer: Optimizer, *, is_ours: bool = False) -> MemoryOptimizer:
    """What Hugging Face's Trainer makes of ``optimizer`` on a card, or what we do. Raises ``KeyError`` for "auto"."""
    return MemoryOptimizer.ADAMW_ROUNDED if is_ours else _MEMORY_OPTIMIZERS[optimizer]


def state_bytes(groups: Groups, training: TrainingShape) -> int:
    """State of the optimizer, paged state included."""
    codes = 2 * rounded(256 * 4) if training.optimizer in _EIGHT_BIT else 0
    state = _STATES[training.optimizer]
    return codes + sum(group.count * state(group, training) for group in groups)


def paged_bytes(groups: Groups, training: TrainingShape) -> int:
    """The part of the state in CUDA's managed memory: it moves to the host while the card is full.

    bitsandbytes pages the two moments of tensors with at least 100,000 elements, not their block maxima. The pages are
    outside of torch's allocator.
    """
    if training.optimizer is not MemoryOptimizer.ADAMW_8BIT_PAGED:
        return 0
    paged = (group for group in groups if group.numel >= _MIN_PAGED_NUMEL)
    return sum(group.count * 2 * rounded(group.numel * _moment_itemsize(group, training)) for group in paged)


def step_bytes(groups: Groups, training: TrainingShape) -> int:
    """What a step needs besides weights, gradients and state.

    Where nothing is fused, torch steps all tensors at once on CUDA, one after the other on the CPU.
    """
    if training.optimizer is MemoryOptimizer.ADAFACTOR:
        return _adafactor_step_bytes(groups)
    if training.optimizer is MemoryOptimizer.ADAMW_ROUNDED:
        return max(_rounded_step_bytes(group) for group in groups)
    if training.optimizer not in _TEMPORARIES_OF_ONE:
        return 0
    if training.device is Device.CUDA:
        return sum(_bytes(group) * group.count for group in groups)
    num_temporaries, keeps_last = _TEMPORARIES_OF_ONE[training.optimizer]
    return max(
        num_temporaries * _bytes(group) + (_bytes(before) if keeps_last and before is not None else 0)
        for before, group in _neighbours(groups)
    )


_TEMPORARIES_OF_ONE = {
    MemoryOptimizer.ADAMW_FOREACH: (2, True),
    MemoryOptimizer.SGD_PLAIN: (1, False),
}
"""Tensors of the size of a parameter that its step makes, and whether the last lives into the next parameter's step.

AdamW: the root of the second moment and the denominator. SGD: the gradient with weight decay.
"""


def _bytes(group: ParameterGroup) -> int:
    return rounded(group.numel * group.itemsize)


def _adafactor_step_bytes(groups: Groups) -> int:
    """The most of: squared gradients, twice, and the previous tensor's update, in fp32; of bf16 also fp32 copies."""
    return max(
        (4 if group.itemsize == 2 else 2) * rounded(4 * group.numel) + (rounded(4 * before.numel) if before else 0)
        for before, group in _neighbours(groups)
    )


def _rounded_step_bytes(group: ParameterGroup) -> int:
    """fp32 tensors of a slice: both moments, the denominator and the weight; of bf16 also the gradient and the noise.

    Of fp32 the new moments, the denominator and the new weight stand beside what is held; of bf16 the old weight's
    copy goes before the noise comes.
    """
    num_temporaries = 6 if group.itemsize == 2 else 4
    return num_temporaries * rounded(4 * min(group.numel, ROUNDED_SLICE))


def _neighbours(groups: Groups) -> Iterator[tuple[ParameterGroup | None, ParameterGroup]]:
    """Each matrix with the one that is stepped before it: embeddings, the layers in turn, the head."""
    matrices = [group for group in groups if group.columns]
    layers = [group for group in matrices if group.count > 1]
    alone = [group for group in matrices if group.count == 1]
    ordered = [*alone[:1], *layers, *layers, *alone[1:]]
    yield from ((None, one) for one in ordered[:1])
    yield from pairwise(ordered)


def _two_moments(group: ParameterGroup, training: TrainingShape) -> int:
    is_on_cpu = training.device is Device.CPU and training.optimizer is not MemoryOptimizer.ADAMW_ROUNDED
    has_step = training.optimizer is MemoryOptimizer.ADAMW_FUSED or is_on_cpu
    step = rounded(4) if has_step else 0  # the others count their steps on the host, ours in Python
    return 2 * rounded(group.numel * group.itemsize) + step


def _two_moments_of_8_bit(group: ParameterGroup, training: TrainingShape) -> int:
    """One byte and an fp32 maximum for 256 elements, fp32 where a tensor is small or an embedding."""
    itemsize = _moment_itemsize(group, training)
    maxima = rounded(4 * -(-group.numel // 256)) if itemsize == 1 else 0
    return 2 * (rounded(itemsize * group.numel) + maxima)


def _moment_itemsize(group: ParameterGroup, training: TrainingShape) -> int:
    is_wide = group.numel < _MIN_8BIT_NUMEL or (group.is_embedding and training.fp32_embedding_states)
    return 4 if is_wide else 1


def _factored(group: ParameterGroup, _training: TrainingShape) -> int:
    """Second moments of rows and columns in fp32, of vectors whole, and the root mean square of the weights."""
    scale = rounded(4)
    if not group.columns:
        return rounded(4 * group.numel) + scale
    return rounded(4 * (group.numel // group.columns)) + rounded(4 * group.columns) + scale


def _none(_group: ParameterGroup, _training: TrainingShape) -> int:
    return 0


_STATES: dict[MemoryOptimizer, Callable[[ParameterGroup, TrainingShape], int]] = {
    MemoryOptimizer.ADAMW_FUSED: _two_moments,
    MemoryOptimizer.ADAMW_FOREACH: _two_moments,
    MemoryOptimizer.ADAMW_ROUNDED: _two_moments,
    MemoryOptimizer.ADAMW_8BIT: _two_moments_of_8_bit,
    MemoryOptimizer.ADAMW_8BIT_PAGED: _two_moments_of_8_bit,
    MemoryOptimizer.ADAFACTOR: _factored,
    MemoryOptimizer.SGD_PLAIN: _none,
}
