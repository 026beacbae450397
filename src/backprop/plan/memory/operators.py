"""Torch's operators as far as memory goes: what each allocates, what it saves, what its backward allocates.

Formulas are those of tools/autograd/derivatives.yaml and torch/csrc/autograd/FunctionsManual.cpp (torch 2.13).
"""

from __future__ import annotations

from collections.abc import Sequence

from backprop.plan.memory.autograd import Dims, Graph, Tensor
from backprop.plan.memory.term import TermName


def cast(graph: Graph, x: Tensor, itemsize: int) -> Tensor:
    """``x.to(dtype)``: nothing when the dtype is that already; saves nothing."""
    if x.itemsize == itemsize:
        return x
    source, dims = x.itemsize, x.dims
    node = graph.record([x], lambda g, _saved, _grads: [g.new(dims, source)])
    return graph.result(dims, itemsize, node)


def autocast(graph: Graph, x: Tensor) -> Tensor:
    """``x`` in bf16 when autocast is on; casts of trainable fp32 parameters are kept until its context ends."""
    if graph.casts is None or x.itemsize == 2:
        return x
    if x.buffer is not None or not x.needs_grad:
        return cast(graph, x, 2)
    held = graph.casts.get(id(x))
    if held is None:
        held = graph.casts[id(x)] = (x, cast(graph, x, 2))
    return held[1]


def add(graph: Graph, a: Tensor, b: Tensor) -> Tensor:
    """``a + b`` of one shape; saves nothing, both gradients are the incoming one."""
    node = graph.record([a, b], lambda _g, _saved, grads: [grads[0], grads[0]])
    return graph.result(a.dims, max(a.itemsize, b.itemsize), node)


def add_constant(graph: Graph, a: Tensor) -> Tensor:
    """``a + c`` where ``c`` needs no gradient (a mask, an epsilon)."""
    node = graph.record([a], lambda _g, _saved, grads: [grads[0]])
    return graph.result(a.dims, a.itemsize, node)


def scale(graph: Graph, a: Tensor) -> Tensor:
    """``a * number``, ``a / number``: saves nothing that a hook sees; its backward makes one tensor."""
    dims, itemsize = a.dims, a.itemsize
    node = graph.record([a], lambda g, _saved, _grads: [g.new(dims, itemsize)])
    return graph.result(dims, itemsize, node)


def multiply(graph: Graph, a: Tensor, b: Tensor, *, out: Dims | None = None) -> Tensor:
    """``a * b``, broadcast to ``out`` (default: as ``a``): each factor that the other's gradient needs is saved."""
    dims = out or a.dims
    itemsize = max(a.itemsize, b.itemsize)
    needed = (a.needs_grad, b.needs_grad)

    def formula(g: Graph, _saved: list[Tensor], grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        del grads
        return [g.new(dims, itemsize) if one else None for one in needed]

    saves = ([a] if b.needs_grad else []) + ([b] if a.needs_grad else [])
    node = graph.record([a, b], formula, saves)
    if node is not None:
        node.broadcasts = True
    return graph.result(dims, itemsize, node)


def negate(graph: Graph, a: Tensor, dims: Dims) -> Tensor:
    """``-a`` where ``a`` is a slice of ``dims``."""
    itemsize = a.itemsize
    node = graph.record([a], lambda g, _saved, _grads: [g.new(dims, itemsize)])
    return graph.result(dims, itemsize, node)


def part(graph: Graph, a: Tensor, dims: Dims, *, term: TermName | None = None) -> Tensor:
    """A slice: a view forward; backward fills a zero tensor of the whole, booked under ``term``."""
    whole, itemsize = a.dims, a.itemsize
    node = graph.record([a], lambda g, _saved, _grads: [g.new(whole, itemsize, term=term)])
    return Tensor(dims, itemsize, a.buffer, needs_grad=node is not None, node=node)


def concatenate(graph: Graph, parts: list[Tensor], dims: Dims) -> Tensor:
    """``torch.cat``; backward gives views of the incoming gradient."""
    shapes = [one.dims for one in parts]

    def formula(_g: Graph, _saved: list[Tensor], grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        grad = grads[0]
        assert grad is not None
        return [Tensor(shape, grad.itemsize, grad.buffer) for shape in shapes]

    node = graph.record(parts, formula)
    return graph.result(dims, parts[0].itemsize, node)


def split(graph: Graph, a: Tensor, shapes: list[Dims]) -> list[Tensor]:
    """``chunk``/``split``: views forward; backward concatenates the gradients."""
    whole, itemsize = a.dims, a.itemsize
    node = graph.record([a], lambda g, _saved, _grads: [g.new(whole, itemsize)])
    if node is not None:
        node.grads = [None] * len(shapes)
    pieces = []
    for slot, shape in enumerate(shapes):
        piece = Tensor(shape, itemsize, a.buffer, needs_grad=node is not None, node=node)
        piece.slot = slot
        pieces.append(piece)
    return pieces


def copy(graph: Graph, a: Tensor, dims: Dims | None = None) -> Tensor:
    """``clone``, ``contiguous`` or a ``reshape`` that must copy; the gradient passes as a view."""
    node = graph.record([a], lambda _g, _saved, grads: [grads[0]])
    return graph.result(dims or a.dims, a.itemsize, node)


def repeat(graph: Graph, a: Tensor, dims: Dims) -> Tensor:
    """``expand`` and ``reshape``: a copy; backward sums over the copies."""
    small, itemsize = a.dims, a.itemsize
    node = graph.record([a], lambda g, _saved, _grads: [g.new(small, itemsize)])
    return graph.result(dims, itemsize, node)


def expand(graph: Graph, a: Tensor, dims: Dims) -> Tensor:
    """``expand``: the same memory under a larger shape; backward sums over the copies."""
    small, itemsize = a.dims, a.itemsize
    node = graph.record([a], lambda g, _saved, _grads: [g.new(small, itemsize)])
    return Tensor(dims, itemsize, a.buffer, needs_grad=node is not None, node=node)


def square(graph: Graph, x: Tensor) -> Tensor:
    """``x.pow(2)``: saves x; backward ``grad * (2 * x.pow(1))`` holds three tensors at once."""
    dims, itemsize = x.dims, x.itemsize

    def formula(g: Graph, _saved: list[Tensor], _grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        held = [g.new(dims, itemsize), g.new(dims, itemsize)]
        grad = g.new(dims, itemsize)
        held.clear()
        return [grad]

    return graph.result(dims, itemsize, graph.record([x], formula, [x]))


def mean(graph: Graph, x: Tensor, dims: Dims) -> Tensor:
    """Mean over the last dimension; backward divides the expanded gradient, a tensor of the size of x."""
    whole, itemsize = x.dims, x.itemsize
    node = graph.record([x], lambda g, _saved, _grads: [g.new(whole, itemsize)])
    return graph.result(dims, itemsize, node)


def pointwise_of_result(graph: Graph, x: Tensor, *, num_temporaries: int = 0) -> Tensor:
    """``rsqrt``, ``tanh``: saves the result; backward makes a tensor of its size beside ``num_temporaries`` others."""
    dims, itemsize = x.dims, x.itemsize

    def formula(g: Graph, _saved: list[Tensor], _grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        held = [g.new(dims, itemsize) for _ in range(num_temporaries)]
        grad = g.new(dims, itemsize)
        held.clear()
        return [grad]

    node = graph.record([x], formula)
    result = graph.result(dims, itemsize, node)
    graph.save(node, result)
    return result


def activation(graph: Graph, x: Tensor) -> Tensor:
    """``silu``, ``gelu``: saves x; backward makes one tensor."""
    dims, itemsize = x.dims, x.itemsize
    node = graph.record([x], lambda g, _saved, _grads: [g.new(dims, itemsize)], [x])
    return graph.result(dims, itemsize, node)


def dropout(graph: Graph, x: Tensor) -> Tensor:
    """``native_dropout``: a new tensor and a mask of one byte an element, which is saved; backward makes one tensor.

    The CPU's composite kernel keeps the mask in the dtype of x.
    """
    dims, itemsize = x.dims, x.itemsize
    node = graph.record([x], lambda g, _saved, _grads: [g.new(dims, itemsize)])
    result = graph.result(dims, itemsize, node)
    graph.save(node, graph.new(dims, 1))
    return result


def softmax(graph: Graph, x: Tensor) -> Tensor:
    """``softmax(x, dtype=float32)``: a cast, then the result, which is saved."""
    wide = cast(graph, x, 4)
    del x
    dims = wide.dims
    node = graph.record([wide], lambda g, _saved, _grads: [g.new(dims, 4)])
    result = graph.result(dims, 4, node)
    graph.save(node, result)
    return result


def matmul(graph: Graph, a: Tensor, b: Tensor, dims: Dims) -> Tensor:
    """Batched ``a @ b`` of (B·heads) matrices; each factor that another's gradient needs is saved."""
    itemsize = a.itemsize
    factors = [(a.dims, a.needs_grad), (b.dims, b.needs_grad)]

    def formula(g: Graph, _saved: list[Tensor], _grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        return [g.new(shape, itemsize) if needed else None for shape, needed in factors]

    saves = ([a] if b.needs_grad else []) + ([b] if a.needs_grad else [])
    return graph.result(dims, itemsize, graph.record([a, b], formula, saves))


def linear(graph: Graph, x: Tensor, weight: Tensor, out: Dims, *, bias: Tensor | None = None) -> Tensor:
    """``F.linear``: saves x for the weight's gradient and the weight for x's.

    Under autocast both are cast first; the cast of x is one more tensor for each linear layer that reads it.
    """
    weight = autocast(graph, weight)
    x = autocast(graph, x)
    if bias is not None:
        bias = autocast(graph, bias)
    x_dims, x_size, x_needed = x.dims, x.itemsize, x.needs_grad
    w_dims, w_size, w_needed = weight.dims, weight.itemsize, weight.needs_grad

    def formula(g: Graph, _saved: list[Tensor], _grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        bias_grad = [g.new(bias_dims, w_size)] if bias_dims is not None and bias_needed else [None]
        grads = [g.new(x_dims, x_size) if x_needed else None, g.new(w_dims, w_size) if w_needed else None]
        return [*grads, *(bias_grad if bias_dims is not None else [])]

    bias_dims = None if bias is None else bias.dims
    bias_needed = bias is not None and bias.needs_grad
    saves = ([x] if w_needed else []) + ([weight] if x_needed else [])
    node = graph.record([x, weight, *([bias] if bias is not None else [])], formula, saves)
    return graph.result(out, x_size, node)


def linear_4bit(graph: Graph, x: Tensor, weight: Dims, out: Dims) -> Tensor:
    """bitsandbytes' ``MatMul4Bit``: dequantizes the weight to bf16 for forward and again for backward; saves nothing.

    ``_dequant_linear_fallback`` (forward) and ``dequantize_4bit`` (backward) first widen the 8-bit absmax to fp32,
    twice, one value for 64 weights.
    """
    source = x.itemsize
    x = cast(graph, x, 2)
    dims, needed = x.dims, x.needs_grad

    def formula(g: Graph, _saved: list[Tensor], _grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        dequantized = dequantize(g, weight)
        grad = g.new(dims, 2) if needed else None
        del dequantized
        return [grad]

    absmax = _absmax(graph, weight, count=2)
    dequantized = graph.new(weight, 2, term=TermName.DEQUANTIZED)
    result = graph.result(out, 2, None)
    del dequantized, absmax
    node = graph.record([x], formula)
    del x
    result.needs_grad, result.node = node is not None, node
    return cast(graph, result, source)


def _absmax(graph: Graph, weight: Dims, *, count: int) -> list[Tensor]:
    """Block maxima widened to fp32; ``count`` 2 where adding their offset makes a second tensor."""
    if not graph.double_quantization:
        return []
    return [graph.new(("1/64", *weight), 4, term=TermName.DEQUANTIZED) for _ in range(count)]


def dequantize(graph: Graph, weight: Dims) -> Tensor:
    """``dequantize_4bit``: the whole weight in bf16."""
    absmax = _absmax(graph, weight, count=1)
    result = graph.new(weight, 2, term=TermName.DEQUANTIZED)
    del absmax
    return result
