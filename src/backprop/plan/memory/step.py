"""One training step on a tape: embeddings, layers, loss, and all of it backward.

Three layers stand for all: what the middle one leaves behind, forward and backward, counts once more for every layer
that it stands for.
"""

from __future__ import annotations

import functools

import attrs

from backprop.plan.facts.families import EmbeddingScale
from backprop.plan.memory import operators as op
from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.autograd import Graph, Node, Tensor
from backprop.plan.memory.decoder_layer import DecoderLayer
from backprop.plan.memory.loss_head import full_logits_loss, fused_loss
from backprop.plan.memory.loss_tile import HeadKind
from backprop.plan.memory.network import decoder_layer, norm, weight
from backprop.plan.memory.offload import LayerShards, Shards
from backprop.plan.memory.structure import StepStructure
from backprop.plan.memory.tape import Tape
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import LossHead
from backprop.plan.memory.walk import Events, Walk, walk_of


@attrs.define
class Watch:
    """Watches the nodes of backward: marks the moments and the events of the middle layer."""

    tape: Tape
    first_order: int = 0
    last_order: int = 0
    start: int = 0
    end: int = 0
    embedding_order: int = 0
    """Order of the embedding's node, the last of backward."""
    layers_order: int = 0
    """Order of the last layer's last node."""
    balance: list[Tensor] = attrs.field(factory=list)
    """What the loss on the routers' balance saves; its own backward is over just before the layers'."""
    is_in_layers: bool = False
    layers: list[tuple[int, int, DecoderLayer]] = attrs.Factory(list)
    """The orders between which each layer's nodes lie, ``(before, last]``."""

    def __call__(self, node: Node) -> None:
        if node.order <= self.layers_order and not self.is_in_layers:
            self.is_in_layers = True
            self.balance.clear()
            self.tape.mark("layer backward")
        if node.order <= self.embedding_order:
            self.tape.mark("end of backward")
        is_inside = self.first_order < node.order <= self.last_order
        if is_inside and not self.tape.in_middle and not self.end:
            self.start = len(self.tape.events)
            self.tape.in_middle = True
        elif not is_inside and self.tape.in_middle:
            self.end = len(self.tape.events)
            self.tape.in_middle = False


@functools.lru_cache(maxsize=256)
def trace_step(structure: StepStructure) -> Walk:
    """What one micro-step allocates and frees; tracing costs milliseconds, so it is kept for the next plan."""
    return walk_of(record_step(structure))


def record_step(structure: StepStructure) -> Events:
    """The tape of one micro-step over as many layers as ``structure`` has, the second for those left out."""
    tape = Tape()
    graph = Graph(
        tape,
        has_gradients=structure.has_gradients,
        autocast=structure.autocast,
        double_quantization=structure.double_quantization,
    )
    watch = Watch(tape, balance=graph.router_balance)
    forward = _run(graph, structure, watch)
    tape.is_closed = True
    return Events(
        symbols=tuple(tape.symbols),
        events=tuple(tape.events),
        repeated=frozenset(tape.repeated_events),
        single=frozenset(tape.single_events),
        moments=tuple(tape.moments),
        forward=forward,
        backward=(watch.start, watch.end),
    )


def _run(graph: Graph, structure: StepStructure, watch: Watch) -> tuple[int, int]:
    embedding = weight(structure, ("V", "H"))
    head = embedding if structure.is_tied else weight(structure, ("V", "H"))
    layers = [decoder_layer(structure) for _ in range(structure.num_layers)]
    graph.casts = {} if structure.autocast else None
    graph.tape.mark("forward")
    shards = Shards(graph, host_itemsize=structure.host_itemsize) if structure.is_offloaded else None
    ends = (embedding, weight(structure, ("H",)), *(() if structure.is_tied else (head,)))
    root = shards.unshard(ends) if shards is not None else []
    positions = graph.new(("S",), 8)
    hidden, forward = backbone(graph, structure, watch, embedding, layers, shards=shards)
    loss, outputs = _loss(graph, structure, hidden, head)
    if not structure.keep_outputs:
        outputs = None
    del hidden
    if graph.casts is not None:
        graph.casts.clear()
    graph.casts = None
    _backward(graph, watch, loss, shards)
    root.clear()
    if shards is not None:
        shards.reduce(0)
    graph.router_logits.clear()
    del outputs, positions
    return forward


def _backward(graph: Graph, watch: Watch, loss: Tensor, shards: Shards | None) -> None:
    tape = graph.tape
    tape.mark("loss")
    tape.term = TermName.BACKWARD
    tape.in_backward = True
    graph.backward(loss, on_node=watch if shards is None else LayerShards(shards, watch.layers, watch))
    if tape.in_middle:
        watch.end = len(tape.events)
        tape.in_middle = False


def backbone(
    graph: Graph,
    structure: StepStructure,
    watch: Watch,
    embedding: Tensor,
    layers: list[DecoderLayer],
    *,
    shards: Shards | None = None,
) -> tuple[Tensor, tuple[int, int]]:
    tape = graph.tape
    hidden = embedded = _embed(graph, structure, embedding)
    watch.embedding_order = graph.order
    shared = _shared(graph, structure, hidden)
    forward = (0, 0)
    for place, layer in enumerate(layers):
        is_middle = len(layers) >= 3 and place == 1
        if is_middle:
            start = len(tape.events)
            watch.first_order = graph.order
            tape.in_middle = True
        before = graph.order
        held = shards.unshard(layer) if shards is not None else []
        run = functools.partial(layer, graph)
        hidden = graph.checkpoint(run, hidden, *shared) if structure.checkpoints else run(hidden, *shared)
        held.clear()
        watch.layers.append((before, graph.order, layer))
        if is_middle:
            tape.in_middle = False
            assert hidden.buffer is not None
            hidden.buffer.repeated = False  # the next layer's input: the middle layer's backward frees its own
            watch.last_order = graph.order
            forward = (start, len(tape.events))
    watch.layers_order = graph.order
    hidden = norm(structure, ("H",), ("T",))(graph, hidden)
    del embedded  # a local variable of the model's forward, alive to its end
    return hidden, forward


def _embed(graph: Graph, structure: StepStructure, embedding: Tensor) -> Tensor:
    """Backward of an embedding makes a gradient of the whole matrix."""
    dims, itemsize = embedding.dims, embedding.itemsize
    node = graph.record([embedding], lambda g, _saved, _grads: [g.new(dims, itemsize)])
    hidden = graph.result(("T", "H"), itemsize, node)
    scale = structure.family.embedding_scale
    if scale is EmbeddingScale.MODULE:
        hidden = op.scale(graph, hidden)
    if structure.checkpoints and not structure.is_full:
        # enable_input_require_grads: what the embedding's module gives is a leaf of its own
        hidden.needs_grad = True
    return op.scale(graph, hidden) if scale is EmbeddingScale.MODEL else hidden


def _shared(graph: Graph, structure: StepStructure, hidden: Tensor) -> list[Tensor]:
    """Cosines and sines for one sequence (packed: for every one), and the additive or boolean masks."""
    rows = ("BS", "D", "rotary")
    masks = []
    itemsize = hidden.itemsize if structure.kernel is AttentionKernel.EAGER else 1
    if structure.has_sliding_mask:
        masks.append(graph.new(("T", "S"), itemsize))
    if structure.has_full_mask:
        masks.append(graph.new(("T", "S"), itemsize))
    frequencies = graph.new((*rows, "1/2"), 4)
    joined = graph.new(rows, 4)
    cos, sin = graph.new(rows, 4), graph.new(rows, 4)
    itemsize = 4 if structure.family.rotates_in_fp32 else hidden.itemsize
    shared = [op.cast(graph, cos, itemsize), op.cast(graph, sin, itemsize)]
    del frequencies, joined, cos, sin
    for tensor in (*shared, *masks):
        assert tensor.buffer is not None
        tensor.buffer.is_shared = True
    return [*shared, *masks]


def _loss(graph: Graph, structure: StepStructure, hidden: Tensor, head: Tensor) -> tuple[Tensor, Tensor | None]:
    if structure.loss is LossHead.FUSED or structure.judges_answers:
        return fused_loss(graph, hidden, head, head_kind(structure)), None
    return full_logits_loss(
        graph, hidden, head, soft_caps=structure.soft_caps_logits, divides=structure.family.scales_residuals
    )


def head_kind(structure: StepStructure) -> HeadKind:
    return HeadKind(structure.device, structure.soft_caps_logits)
