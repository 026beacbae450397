"""The prediction: sizes put into a tape, its running sum, and the moment of the maximum."""

from __future__ import annotations

import itertools
from collections import Counter

import attrs

from backprop.plan.memory.plan import MemoryPlan, Term, moment_name
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.static import BLOCK, static_bytes, trainable_parameters
from backprop.plan.memory.step import StepTape, trace_step
from backprop.plan.memory.structure import structure_of
from backprop.plan.memory.tape import Symbol
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import MemoryOptimizer, TrainingShape


def predict(model: MemoryShape, training: TrainingShape) -> MemoryPlan:
    """Peak of the bytes that torch's caching allocator has handed out in one training step, with its break-down."""
    tape = trace_step(structure_of(model, training))
    sizes = _sizes(tape.symbols, model, training)
    repeats = max(model.num_layers - 3, 0)
    peak = _peak(tape, sizes, repeats)
    static = static_bytes(model, training)
    step = _optimizer_step(model, training)
    if step is not None and step.total > peak.total:
        peak = step
    terms = Counter(static)
    terms.update(peak.terms)
    return MemoryPlan(
        terms=tuple(Term(name, terms[name]) for name in TermName if terms[name]),
        moment=peak.moment,
    )


@attrs.frozen
class _Peak:
    total: int
    terms: Counter[TermName]
    moment: str


def _sizes(symbols: tuple[Symbol, ...], model: MemoryShape, training: TrainingShape) -> list[int]:
    values = _values(model, training)
    sizes = []
    for symbol in symbols:
        product: float = symbol.itemsize
        for dim in symbol.dims:
            product *= values[dim]
        sizes.append(-(-int(product) // BLOCK) * BLOCK)
    return sizes


def _values(model: MemoryShape, training: TrainingShape) -> dict[str, float]:
    sequence, tokens = training.sequence, training.batch * training.sequence
    targets = training.batch * (sequence - 1)
    return {
        "B": training.batch,
        "S": sequence,
        "S128": -(-sequence // 128) * 128,
        "T": tokens,
        "M": targets,
        "M4096": min(targets, 4096),
        "H": model.hidden,
        "N": model.num_heads,
        "G": model.num_kv_heads,
        "D": model.head_dim,
        "Q": model.query_width,
        "Q32": model.num_heads * _rounded_head(model.head_dim),
        "K": model.kv_width,
        "QKV": model.query_width + 2 * model.kv_width,
        "F": model.intermediate,
        "2F": 2 * model.intermediate,
        "V": model.vocab,
        "V32768": min(model.vocab, 32768),
        "R": training.rank,
        "rotary": model.rotary_fraction,
        "1-rotary": 1 - model.rotary_fraction,
        "1/2": 0.5,
        "1/64": 1 / 64,
    }


def _rounded_head(head_dim: int) -> int:
    """Flash attention pads heads to multiples of 32, above 128 to multiples of 64."""
    step = 32 if head_dim <= 128 else 64
    return -(-head_dim // step) * step


def _peak(tape: StepTape, sizes: list[int], repeats: int) -> _Peak:
    deltas = [sizes[event] if event >= 0 else -sizes[~event] for event in tape.events]
    (forward_start, forward_end), (backward_start, backward_end) = tape.forward, tape.backward
    forward_net = repeats * sum(deltas[forward_start:forward_end])
    backward_net = repeats * sum(deltas[backward_start:backward_end])
    for place in tape.repeated_events:
        deltas[place] *= repeats + 1
    # The layers that the middle one stands for come before it, forward and backward.
    deltas[forward_start] += forward_net
    deltas[backward_start] += backward_net
    running = list(itertools.accumulate(deltas))
    total = max(running)
    last = running.index(total)
    return _Peak(total, _terms(tape, sizes, repeats, last), moment_name(tape.moments, last))


def _terms(tape: StepTape, sizes: list[int], repeats: int, last: int) -> Counter[TermName]:
    counts = Counter(tape.events[: last + 1])
    for start, end in (tape.forward, tape.backward):
        if start <= last:
            for event, count in Counter(tape.events[start:end]).items():
                counts[event] += repeats * count
    for place in tape.repeated_events:
        if place <= last:
            counts[tape.events[place]] += repeats
    terms: Counter[TermName] = Counter()
    for event, count in counts.items():
        if event >= 0:
            terms[tape.symbols[event].term] += count * sizes[event]
        else:
            terms[tape.symbols[~event].term] -= count * sizes[~event]
    return terms


def _optimizer_step(model: MemoryShape, training: TrainingShape) -> _Peak | None:
    """All gradients, and for ``foreach`` AdamW one more copy of the trainables."""
    trainable = trainable_parameters(model, training)
    held = sum(group.count * (-(-group.numel * group.itemsize // BLOCK) * BLOCK) for group in trainable)
    terms: Counter[TermName] = Counter()
    if training.accumulation == 1 and not training.keep_gradients:
        terms[TermName.GRADIENTS] = held
    if training.optimizer is MemoryOptimizer.ADAMW_FOREACH:
        terms[TermName.STEP] = held
    return _Peak(sum(terms.values()), terms, "optimizer step")
