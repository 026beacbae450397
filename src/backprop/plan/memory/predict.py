"""The prediction: sizes put into the moments that can be the peak, and the largest of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from backprop.plan.facts.families import linear_layers_of
from backprop.plan.memory.offload import host_bytes
from backprop.plan.memory.optimizer_state import paged_bytes, step_bytes
from backprop.plan.memory.parameter import ParameterGroup
from backprop.plan.memory.plan import MemoryPlan, Term
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.static import static_bytes, total_bytes, trainable_parameters
from backprop.plan.memory.step import trace_step
from backprop.plan.memory.structure import StepStructure, structure_of
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import MemoryMethod, TrainingShape
from backprop.plan.memory.walk import Walk


class NotModelled(ValueError):
    """The model has parts whose memory is not counted here."""


def predict(model: MemoryShape, training: TrainingShape) -> MemoryPlan:
    """Peak of the bytes that torch's caching allocator has handed out in one training step, with its break-down.

    Costs 0.2 to 0.6 ms where a training of the same structure was predicted before, 3 to 20 ms otherwise. Raises
    ``NotModelled`` for mixtures of experts of other kinds than Mixtral's, Qwen3's and OLMoE's, for models with other
    linear layers than their family's, and for offload of anything but plain full fine-tuning of a dense model.
    """
    walk, products, repeats = sized(model, training, trace_step)
    peak = walk.peak(products, repeats)
    groups = trainable_parameters(model, training)
    terms = static_bytes(model, training, groups)
    moment, alive = peak.moment, peak.terms
    step = _optimizer_step(groups, training)
    if sum(step.values()) > peak.num_bytes:
        moment, alive = "optimizer step", step
    return MemoryPlan(
        terms=add_terms(terms, alive),
        moment=moment,
        paged_bytes=0 if training.offload else paged_bytes(groups, training),
        host_bytes=host_bytes(groups, training) if training.offload else 0,
    )


def sized(
    model: MemoryShape, training: TrainingShape, trace: Callable[[StepStructure], Walk]
) -> tuple[Walk, list[float], int]:
    """The walk that ``trace`` makes, the sizes to put in, and how many layers it leaves out. Raises ``NotModelled``."""
    _check_experts(model)
    _check_layers(model)
    if training.offload:
        _check_offload(model, training)
    structure = structure_of(model, training)
    walk = trace(structure)
    values = _values(model, training)
    products = [math.prod([values[dim] for dim in dims]) for dims in walk.dims]
    return walk, products, max(model.num_layers - structure.num_layers, 0)


@functools.lru_cache(maxsize=256)
def _check_layers(model: MemoryShape) -> None:
    """The tape is that of the family's layers, so the model must have these and no others."""
    expected = linear_layers_of(
        model.model_type,
        hidden_size=model.hidden_size,
        num_heads=model.num_heads,
        num_kv_heads=model.num_kv_heads,
        head_dim=model.head_dim,
        intermediate_size=model.intermediate_size,
        has_experts=model.experts is not None,
    )
    if set(model.linear_layers) != set(expected):
        others = sorted({layer.name for layer in set(model.linear_layers) ^ set(expected)})
        raise NotModelled(f"{model.model_type} with other layers than are counted: {', '.join(others)}")


def _check_experts(model: MemoryShape) -> None:
    if model.experts is None:
        return
    if model.family.experts is None or model.experts.shared_intermediate_size:
        raise NotModelled(f"{model.model_type} with {model.experts.count} experts: its kind of mixture is not counted")
    if model.experts.num_layers < model.num_layers:
        dense = model.num_layers - model.experts.num_layers
        raise NotModelled(f"{model.model_type} with {dense} layers without experts: layers must be alike")


def _check_offload(model: MemoryShape, training: TrainingShape) -> None:
    is_plain = training.method is MemoryMethod.FULL and not training.objective.has_reference
    if not is_plain or model.experts is not None:
        raise NotModelled("offload is predicted for full fine-tuning of dense models without a reference model")


_BREAK_DOWN = tuple(TermName)


def add_terms(*parts: dict[TermName, int]) -> tuple[Term, ...]:
    """The terms of all ``parts`` added up, in the order of the break-down."""
    total: dict[TermName, int] = {}
    for part in parts:
        for name, num_bytes in part.items():
            total[name] = total.get(name, 0) + num_bytes
    return tuple([Term(name, total[name]) for name in _BREAK_DOWN if total.get(name)])


def _values(model: MemoryShape, training: TrainingShape) -> dict[str, float]:
    sequence, tokens = training.sequence, training.sequences * training.sequence
    positions = training.sequences * (sequence - 1)
    targets = positions if training.num_targets is None else training.num_targets
    return {
        "B": training.sequences,
        "S": sequence,
        "BS": tokens if training.packed else sequence,
        "S128": -(-sequence // 128) * 128,
        "T": tokens,
        "T-B": positions,
        "M": targets,
        "M4096": min(targets, 4096),
        "H": model.hidden_size,
        "N": model.num_heads,
        "G": model.num_kv_heads,
        "D": model.head_dim,
        "Q": model.query_width,
        "Q32": model.num_heads * _rounded_head(model.head_dim),
        "K": model.kv_width,
        "QKV": model.query_width + 2 * model.kv_width,
        "F": model.intermediate_size,
        "2F": 2 * model.intermediate_size,
        **_expert_values(model, tokens),
        "V": model.vocab_size,
        "V32768": min(model.vocab_size, 32768),
        "32768": 32768,
        "R": training.rank,
        "L": model.num_layers,
        "P": sum(one.in_features * one.out_features for one in model.linear_layers),
        "rotary": model.rotary_fraction,
        "1-rotary": 1 - model.rotary_fraction,
        "1/2": 0.5,
        "1/64": 1 / 64,
    }


def _expert_values(model: MemoryShape, tokens: int) -> dict[str, float]:
    if model.experts is None:
        return {}
    width = model.experts.intermediate_size
    return {"A": tokens * model.experts.per_token, "E": model.experts.count, "I": width, "2I": 2 * width}


def _rounded_head(head_dim: int) -> int:
    """Flash attention pads heads to multiples of 32, above 128 to multiples of 64."""
    step = 32 if head_dim <= 128 else 64
    return -(-head_dim // step) * step


def _optimizer_step(groups: tuple[ParameterGroup, ...], training: TrainingShape) -> dict[TermName, int]:
    """All gradients, and the optimizer's temporaries; nothing where it steps on the host."""
    if training.offload:
        return {}
    terms = {TermName.STEP: step_bytes(groups, training)}
    if not training.keeps_gradients:
        terms[TermName.GRADIENTS] = total_bytes(groups)
    return terms
