"""Full fine-tuning whose weights, gradients and optimizer stay in host memory: FSDP2 with CPU offload, one process.

Each decoder layer is a group of its own; embeddings, last norm and head are the root's. With one process FSDP2 gathers
nothing: it copies a group's weights to the card tensor by tensor when the group computes, so none is prefetched. In
backward a group's gradients are copied into one buffer and from there into a second, in the weights' dtype, which goes
to pinned host memory. The first buffer stays until the next group comes to that point.

Sources: torch/distributed/fsdp/_fully_shard (2.13): ``wait_for_unshard``, ``all_gather_inputs``, ``post_backward``,
``foreach_reduce``; ATen/core/CachingHostAllocator.h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from backprop.plan.memory.autograd import Graph, Node, Tensor
from backprop.plan.memory.decoder_layer import DecoderLayer
from backprop.plan.memory.device import Device
from backprop.plan.memory.optimizer_state import state_bytes, step_bytes
from backprop.plan.memory.parameter import ParameterGroup
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import TrainingShape

COMPUTE_ITEMSIZE = 2
"""``MixedPrecisionPolicy(param_dtype=bfloat16)``: weights and gradients on the card."""


class Shards:
    """The groups on the card: their weights while they compute, their gradients on the way to the host."""

    def __init__(self, graph: Graph, *, host_itemsize: int) -> None:
        self.graph = graph
        self.host_itemsize = host_itemsize
        self._kept: list[Tensor] = []
        """The last group's first buffer."""

    def unshard(self, group: object) -> list[Tensor]:
        """The group's weights; what came from the host goes when the next tensor has come."""
        held, moved = [], None
        for weight in parameters(group):
            moved = self._from_host(weight)
            held.append(self._new(weight, COMPUTE_ITEMSIZE))
        del moved
        return held

    def _from_host(self, weight: Tensor) -> Tensor:
        moved = self._new(weight, self.host_itemsize)
        return moved if self.host_itemsize == COMPUTE_ITEMSIZE else self._new(weight, COMPUTE_ITEMSIZE)

    def reduce(self, first: int) -> None:
        """Send the gradients made since there were ``first`` of them to the host."""
        made = self.graph.gradients[first:]
        del self.graph.gradients[first:]
        self._kept = []
        self._kept = self._copies(made, COMPUTE_ITEMSIZE)
        dims = [Tensor(grad.dims, grad.itemsize, None) for grad in made]
        made.clear()
        output = self._copies(dims, COMPUTE_ITEMSIZE)
        if self.host_itemsize != COMPUTE_ITEMSIZE:
            output = self._copies(dims, self.host_itemsize)
        output.clear()

    def _new(self, weight: Tensor, itemsize: int) -> Tensor:
        return self.graph.new(weight.dims, itemsize, term=TermName.TRAINABLE_WEIGHTS)

    def _copies(self, tensors: list[Tensor], itemsize: int) -> list[Tensor]:
        return [self.graph.new(tensor.dims, itemsize, term=TermName.GRADIENTS) for tensor in tensors]


def parameters(module: object) -> Iterator[Tensor]:
    """All tensors of a part of the network, which are its weights."""
    if isinstance(module, Tensor):
        yield module
    elif isinstance(module, (list, tuple)):
        for part in module:
            yield from parameters(part)
    else:
        for field in getattr(type(module), "__attrs_attrs__", ()):
            yield from parameters(getattr(module, field.name))


@attrs.define
class LayerShards:
    """Follows backward from layer to layer: weights come before a layer's first node, gradients go after its last."""

    shards: Shards
    layers: list[tuple[int, int, DecoderLayer]]
    """The orders between which a layer's nodes lie, ``(before, last]``, and the layer; the first layer first."""
    watch: Callable[[Node], None]
    """Told of every node, too: after the gradients of the layer before have gone, before weights come."""
    _held: list[Tensor] = attrs.Factory(list)
    _end: int = -1
    _first: int = 0

    def __call__(self, node: Node) -> None:
        """What happens before ``node`` runs."""
        if self._held and node.order <= self._end:
            self._leave()
        self.watch(node)
        if self.layers and not self._held and node.order <= self.layers[-1][1]:
            self._end, _, layer = self.layers.pop()
            self._first = len(self.shards.graph.gradients)
            self._held = self.shards.unshard(layer)

    def _leave(self) -> None:
        self._held = []
        self.shards.reduce(self._first)


def host_bytes(groups: tuple[ParameterGroup, ...], training: TrainingShape) -> int:
    """Host memory of weights, gradients, optimizer state and the optimizer's temporaries.

    Weights and gradients are pinned, for which torch rounds every tensor up to a power of two (unless
    ``PYTORCH_ALLOC_CONF=pinned_max_round_threshold_mb`` says otherwise). What the process itself takes is not counted.
    """
    pinned = sum(2 * group.count * _power_of_two(group.numel * group.itemsize) for group in groups)
    return pinned + state_bytes(groups, training) + step_bytes(groups, attrs.evolve(training, device=Device.CPU))


def _power_of_two(num_bytes: int) -> int:
    return 1 << (num_bytes - 1).bit_length()
