"""Evaluation between two steps: forward passes over held-out rows without a graph, while the gradients are gone.

Source: effects/train/session.py, ``heldout_loss``; transformers/trainer.py (5.24) frees the gradients before it calls
``on_step_end``. In evaluation mode nothing is recomputed, so nothing is checkpointed.
"""

from __future__ import annotations

import functools

import attrs

from backprop.plan.memory.autograd import Graph
from backprop.plan.memory.loss_head import fused_loss
from backprop.plan.memory.network import decoder_layer, weight
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.memory.predict import NotModelled, add_terms, sized
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.static import static_bytes, trainable_parameters
from backprop.plan.memory.step import Watch, backbone, head_kind
from backprop.plan.memory.structure import StepStructure
from backprop.plan.memory.tape import Tape
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import TrainingShape
from backprop.plan.memory.walk import Events, Walk, walk_of


def predict_evaluation(
    model: MemoryShape, training: TrainingShape, *, longest: int, num_targets: int | None = None
) -> MemoryPlan:
    """Peak of an evaluation during ``training``: batches as large, of rows that are padded and not packed.

    ``longest``: tokens of the longest held-out row. ``num_targets``: the learned ones of its batch; None: all that have
    one before them. Raises ``NotModelled`` as ``predict`` does, and for weights in host memory.
    """
    if training.offload:
        raise NotModelled("an evaluation with weights in host memory is not predicted")
    training = attrs.evolve(
        training, sequence=longest, num_targets=num_targets, packed=False, pad_mask=training.batch > 1
    )
    walk, products, repeats = sized(model, training, trace_evaluation)
    peak = walk.peak(products, repeats)
    groups = trainable_parameters(model, training)
    terms = static_bytes(model, training, groups)
    if not training.keep_gradients:
        terms.pop(TermName.GRADIENTS, None)
    return MemoryPlan(terms=add_terms(terms, peak.terms), moment=peak.moment)


@functools.lru_cache(maxsize=256)
def trace_evaluation(structure: StepStructure) -> Walk:
    """What one forward pass and its loss allocate and free."""
    structure = attrs.evolve(structure, checkpoints=False, dropout=False)
    tape = Tape()
    graph = Graph(
        tape,
        autocast=structure.autocast,
        double_quantization=structure.double_quantization,
        is_recording=False,
    )
    graph.casts = {} if structure.autocast else None
    tape.mark("evaluation")
    embedding = weight(structure, ("V", "H"))
    head = embedding if structure.is_tied else weight(structure, ("V", "H"))
    layers = [decoder_layer(structure) for _ in range(structure.num_layers)]
    hidden, forward = backbone(graph, structure, Watch(tape), embedding, layers)
    fused_loss(graph, hidden, head, head_kind(structure))
    tape.is_closed = True
    return walk_of(
        Events(
            symbols=tuple(tape.symbols),
            events=tuple(tape.events),
            repeated=frozenset(tape.repeated_events),
            single=frozenset(tape.single_events),
            moments=tuple(tape.moments),
            forward=forward,
            backward=(0, 0),
        )
    )
