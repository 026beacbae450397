"""Shapes of models and trainings, as the memory plan takes them; valid by construction."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st

from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.families import linear_layers_of
from backprop.plan.facts.model import ModelSource
from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.device import Device
from backprop.plan.memory.objective import Objective
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.training import (
    ALL_LINEAR,
    AdapterDtype,
    LossHead,
    MemoryMethod,
    MemoryOptimizer,
    TrainingShape,
)

EIGHT_BIT = (MemoryOptimizer.ADAMW_8BIT, MemoryOptimizer.ADAMW_8BIT_PAGED)
SHAPES = tuple(
    dict.fromkeys(
        MemoryShape.of(facts_from_config(config, name=name, source=ModelSource.TABLE))
        for name, config in ARCHITECTURES.items()
    )
)
"""Every shape of the built-in table: all families, dense and mixtures of experts."""


def with_layers(model: MemoryShape, count: int) -> MemoryShape:
    """The model with another number of layers, experts in each if it has any."""
    experts = model.experts and attrs.evolve(model.experts, num_layers=count)
    return attrs.evolve(model, num_layers=count, experts=experts)


def with_intermediate(model: MemoryShape, width: int) -> MemoryShape:
    """The model with a feed-forward network of another width."""
    wider = attrs.evolve(model, intermediate_size=width)
    layers = linear_layers_of(
        model.model_type,
        hidden_size=model.hidden_size,
        num_heads=model.num_heads,
        num_kv_heads=model.num_kv_heads,
        head_dim=model.head_dim,
        intermediate_size=width,
        has_experts=model.experts is not None,
    )
    return attrs.evolve(wider, linear_layers=layers)


@st.composite
def shapes(draw: st.DrawFn) -> MemoryShape:
    """A known shape with its own number of layers or another; few are traced whole."""
    model = draw(st.sampled_from(SHAPES))
    return with_layers(model, draw(st.just(model.num_layers) | st.integers(1, 60)))


@st.composite
def trainings(draw: st.DrawFn, model: MemoryShape, *, offloads: bool = True) -> TrainingShape:
    """Any training of the model whose memory is counted."""
    method = draw(st.sampled_from(MemoryMethod))
    objective = draw(st.sampled_from(Objective))
    can_offload = method is MemoryMethod.FULL and not objective.has_reference and model.experts is None
    return TrainingShape(
        device=draw(st.sampled_from(Device)),
        method=method,
        objective=objective,
        rank=draw(st.integers(1, 512)),
        targets=draw(_targets(model)),
        adapter_dtype=draw(st.sampled_from(AdapterDtype)),
        dropout=draw(st.booleans()),
        sequence=draw(st.integers(2, 8192)),
        batch=draw(st.integers(1, 16)),
        accumulation=draw(st.sampled_from((1, 4))),
        checkpoints=draw(st.booleans()),
        attention=draw(st.sampled_from(AttentionKernel)),
        loss=draw(st.sampled_from(LossHead)),
        optimizer=draw(st.sampled_from(MemoryOptimizer)),
        fp32_embedding_states=draw(st.booleans()),
        offload=offloads and can_offload and draw(st.booleans()),
        autocast=draw(st.booleans()),
        fp32_weights=draw(st.booleans()),
        double_quantization=draw(st.booleans()),
        pad_mask=draw(st.booleans()),
        packed=draw(st.booleans()),
        keep_outputs=draw(st.booleans()),
    )


def _targets(model: MemoryShape) -> st.SearchStrategy[tuple[str, ...]]:
    names = tuple(linear.name for linear in model.linear_layers)
    some = st.lists(st.sampled_from(names), min_size=1, unique=True).map(tuple)
    return st.just((ALL_LINEAR,)) | some
