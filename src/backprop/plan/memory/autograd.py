"""Autograd in miniature: which tensors a graph saves, in which order it runs backward, and when it lets go of them.

Follows torch/csrc/autograd/engine.cpp: of the nodes that are ready, the latest made runs first; a gradient that meets
another is added out of place; a node's saved tensors go when its formula has run. Non-reentrant checkpointing follows
torch/utils/checkpoint.py, with its early stop at the last tensor that was saved.
"""

from __future__ import annotations

import contextlib
import heapq
import weakref
from collections.abc import Callable, Sequence

from backprop.plan.memory.tape import Buffer, Tape
from backprop.plan.memory.term import TermName

Dims = tuple[str, ...]
Formula = Callable[["Graph", "list[Tensor]", "list[Tensor | None]"], "Sequence[Tensor | None]"]
"""Gradients of a node's inputs from its saved tensors and the gradients of its outputs."""


class Tensor:
    """A tensor of ``dims`` elements; views share their buffer, parameters have none (they are counted apart)."""

    __slots__ = ("buffer", "dims", "itemsize", "needs_grad", "node", "slot")

    def __init__(
        self, dims: Dims, itemsize: int, buffer: Buffer | None, *, needs_grad: bool = False, node: Node | None = None
    ) -> None:
        self.dims = dims
        self.itemsize = itemsize
        self.buffer = buffer
        self.needs_grad = needs_grad
        self.node = node
        self.slot = 0

    def view(self, dims: Dims, *, slot: int | None = None) -> Tensor:
        """The same memory and the same place in the graph under another shape."""
        seen = Tensor(dims, self.itemsize, self.buffer, needs_grad=self.needs_grad, node=self.node)
        seen.slot = self.slot if slot is None else slot
        return seen

    def detached(self) -> Tensor:
        """The same memory outside of the graph."""
        return Tensor(self.dims, self.itemsize, self.buffer)


class Node:
    """A step of the graph: where its gradients go, what it saved, and the formula that uses both."""

    __slots__ = ("broadcasts", "formula", "grads", "inputs", "order", "saved", "waiting")

    def __init__(self, order: int, inputs: list[Tensor], formula: Formula, num_outputs: int) -> None:
        self.order = order
        self.inputs = [_Edge(tensor) if tensor.needs_grad else None for tensor in inputs]
        self.saved: list[Tensor | _Packed] = []
        self.formula = formula
        self.grads: list[Tensor | None] = [None] * num_outputs
        self.waiting = 0
        self.broadcasts = False
        """Gradients come in the shape of the output; the engine sums them to their inputs' when all are there."""


class _Edge:
    """Where a gradient goes: a node's output, or a leaf."""

    __slots__ = ("dims", "itemsize", "leaf", "node", "slot")

    def __init__(self, tensor: Tensor) -> None:
        self.node = tensor.node
        self.slot = tensor.slot
        self.dims = tensor.dims
        self.itemsize = tensor.itemsize
        self.leaf = None if tensor.node is not None else tensor


class _StopRecomputation(Exception):
    """All that backward needs has been computed again."""


class _Packed:
    """A tensor that a checkpointed region did not keep."""

    __slots__ = ("__weakref__", "index", "region")

    def __init__(self, region: _Region, index: int) -> None:
        self.region = region
        self.index = index


class _Region:
    """A checkpointed forward: its inputs, and what its recomputation found."""

    __slots__ = ("found", "inputs", "packed", "run")

    def __init__(self, run: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
        self.run = run
        self.inputs = inputs
        self.packed: list[weakref.ref[_Packed]] = []
        """One for each tensor saved in forward; dead where its node is gone (a branch outside of the loss)."""
        self.found: dict[int, Tensor] | None = None


class Graph:
    """Operations on tensors, written on a tape."""

    def __init__(
        self,
        tape: Tape,
        *,
        has_gradients: bool = False,
        autocast: bool = True,
        double_quantization: bool = True,
        is_recording: bool = True,
    ) -> None:
        self.tape = tape
        self.has_gradients = has_gradients
        """The gradients of an earlier micro-step are there; new ones are added in place."""
        self.autocast = autocast
        self.double_quantization = double_quantization
        self.is_recording = is_recording
        """Not under ``no_grad``."""
        self.gradients: list[Tensor] = []
        self.casts: dict[int, tuple[Tensor, Tensor]] | None = None
        """Parameters cast by autocast, kept until its context ends."""
        self.router_logits: list[Tensor] = []
        """Returned by the model; from the loss on they stand for their gradients, which wait for their layers."""
        self.router_balance: list[Tensor] = []
        """What the loss on the routers' balance saves."""
        self.order = 0
        self._packing: _Region | None = None
        self._recomputing: tuple[_Region, list[int]] | None = None
        self._leaves: dict[int, Tensor] = {}
        self._leaf_waiting: dict[int, int] = {}

    # Making tensors

    def new(self, dims: Dims, itemsize: int, *, term: TermName | None = None) -> Tensor:
        """A tensor outside of the graph."""
        return Tensor(dims, itemsize, self.tape.allocate(dims, itemsize, term=term))

    def record(self, inputs: list[Tensor], formula: Formula, saves: Sequence[Tensor] = ()) -> Node | None:
        """The node of an operation on ``inputs``, or None when no gradient is asked for."""
        if not self.is_recording:
            return None
        for tensor in inputs:  # any() over a generator costs twice as much
            if tensor.needs_grad:
                break
        else:
            return None
        self.order += 1
        node = Node(self.order, inputs, formula, 1)
        for tensor in saves:
            node.saved.append(self._pack(tensor))
        return node

    def save(self, node: Node | None, tensor: Tensor) -> None:
        """Let ``node`` save a result."""
        if node is not None:
            node.saved.append(self._pack(tensor))

    def result(self, dims: Dims, itemsize: int, node: Node | None) -> Tensor:
        """A new tensor that ``node`` made."""
        return Tensor(dims, itemsize, self.tape.allocate(dims, itemsize), needs_grad=node is not None, node=node)

    def balance(self, logits: Tensor) -> None:
        """Let the model return a router's ``logits`` for a loss on their softmax; not when they are recomputed."""
        if self._recomputing is None:
            self.router_logits.append(logits.detached())
            self.router_balance.append(self.new(logits.dims, 4))

    def _pack(self, tensor: Tensor) -> Tensor | _Packed:
        if self._recomputing is not None:
            region, seen = self._recomputing
            assert region.found is not None
            if region.packed[seen[0]]() is not None:
                region.found[seen[0]] = tensor.detached()
            seen[0] += 1
            if seen[0] == len(region.packed):
                raise _StopRecomputation
            return tensor.detached()
        if self._packing is not None:
            region = self._packing
            packed = _Packed(region, len(region.packed))
            region.packed.append(weakref.ref(packed))
            return packed
        return tensor.detached()

    def _unpack(self, saved: Tensor | _Packed) -> Tensor:
        if isinstance(saved, Tensor):
            return saved
        region = saved.region
        if region.found is None:
            self._recompute(region)
        assert region.found is not None
        return region.found.pop(saved.index)

    # Checkpointing

    def checkpoint(self, run: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """``run(*inputs)`` of which only the inputs are kept."""
        self._packing = _Region(run, tuple(inputs))
        output = run(*inputs)
        self._packing = None
        return output

    def _recompute(self, region: _Region) -> None:
        tape, term, casts = self.tape, self.tape.term, self.casts
        region.found = {}
        tape.term = TermName.RECOMPUTE
        self._recomputing = (region, [0])
        self.casts = {} if self.autocast else None
        inputs = [Tensor(t.dims, t.itemsize, t.buffer, needs_grad=t.needs_grad) for t in region.inputs]
        with contextlib.suppress(_StopRecomputation):
            region.run(*inputs)
        self._recomputing = None
        self.casts = casts
        tape.term = term

    # Backward

    def backward(self, root: Tensor, *, on_node: Callable[[Node], None] | None = None) -> None:
        """Run the graph backward from ``root``, writing what it allocates and frees."""
        assert root.node is not None
        first = root.node
        self._count(first)
        first.grads[root.slot] = self.new((), 4)
        ready: list[tuple[int, Node]] = [(-first.order, first)]
        del first, root
        while ready:
            node = heapq.heappop(ready)[1]
            if on_node is not None:
                on_node(node)
            grads, node.grads = node.grads, []
            saved = [self._unpack(one) for one in node.saved]
            outputs = list(node.formula(self, saved, grads))
            for place, edge in enumerate(node.inputs):
                grad = outputs[place]
                if edge is not None and grad is not None:
                    outputs[place] = self._fitted(grad, edge, is_summed=node.broadcasts)
                del grad
            grads.clear()
            saved.clear()
            node.saved.clear()
            inputs, node.inputs = node.inputs, []
            del node
            for place, edge in enumerate(inputs):
                grad, outputs[place] = outputs[place], None
                if edge is None:
                    continue
                if edge.node is None:
                    assert edge.leaf is not None
                    self._accumulate(edge.leaf, grad)
                    del grad
                    continue
                target = edge.node
                if grad is not None:
                    held = target.grads[edge.slot]
                    target.grads[edge.slot] = grad if held is None else self.new(grad.dims, grad.itemsize)
                    del held
                del grad
                target.waiting -= 1
                if not target.waiting:
                    heapq.heappush(ready, (-target.order, target))
                del target
            inputs.clear()

    def _fitted(self, grad: Tensor, edge: _Edge, *, is_summed: bool) -> Tensor:
        """``validate_outputs``: the shape and the dtype that the input has."""
        if is_summed and grad.dims != edge.dims:
            grad = self.new(edge.dims, grad.itemsize)
        return grad if grad.itemsize == edge.itemsize else self.new(grad.dims, edge.itemsize)

    def _count(self, first: Node) -> None:
        seen: set[int] = {id(first)}
        todo = [first]
        while todo:
            for edge in todo.pop().inputs:
                if edge is None:
                    continue
                if edge.node is None:
                    key = id(edge.leaf)
                    self._leaf_waiting[key] = self._leaf_waiting.get(key, 0) + 1
                    continue
                edge.node.waiting += 1
                if id(edge.node) not in seen:
                    seen.add(id(edge.node))
                    todo.append(edge.node)

    def _accumulate(self, leaf: Tensor, grad: Tensor | None) -> None:
        """A leaf's gradients are summed, then become ``.grad`` or are added to it."""
        key = id(leaf)
        self._leaf_waiting[key] -= 1
        held = self._leaves.pop(key, None)
        if held is not None and grad is not None:
            grad = self.new(grad.dims, grad.itemsize)
        del held
        if self._leaf_waiting[key]:
            if grad is not None:
                self._leaves[key] = grad
            return
        if grad is None or leaf.buffer is not None or self.has_gradients:
            return
        assert grad.buffer is not None
        self.tape.rebook(grad.buffer, TermName.GRADIENTS)
        self.gradients.append(grad)
