"""One tile of logits in TRL's fused head: on CUDA a Triton kernel that needs nothing more, on the CPU torch operators.

Source: trl/kernels/chunked_logprob.py (1.16): ``_forward_tile``, ``_backward_tile``, ``_torch_transform``,
``_addmm_fp32``. A tile is ("M4096", "V32768"); the vectors of its rows are left out, as are those of its columns.
"""

from __future__ import annotations

import attrs

from backprop.plan.memory.autograd import Dims, Graph, Tensor
from backprop.plan.memory.device import Device
from backprop.plan.memory.term import TermName

TILE: Dims = ("M4096", "V32768")


@attrs.frozen
class HeadKind:
    """What tells one head's memory from another's."""

    device: Device
    soft_caps: bool


def fold_forward(graph: Graph, kind: HeadKind, *, itemsize: int) -> None:
    """Logits of ``itemsize`` become running statistics: two masks of the tile and up to three fp32 copies beside it."""
    if kind.device is Device.CUDA:
        return
    scaled = _transformed(graph, kind, itemsize)
    is_before_target = _tile(graph, 1)
    inverted = _tile(graph, 1)
    without_later = _tile(graph)
    del inverted, without_later
    shifted = _tile(graph)
    exponents = _tile(graph)
    del shifted
    products = _tile(graph)
    del products, exponents, is_before_target, scaled


def fold_backward(graph: Graph, kind: HeadKind, *, itemsize: int) -> None:
    """Logits of ``itemsize`` become their gradient; all that stands under a name lives to the function's end."""
    if kind.device is Device.CUDA:
        return
    widened = _widened(graph, itemsize)
    logits = _tile(graph)
    del widened
    tanh = _tanh(graph) if kind.soft_caps else None
    scaled = _scaled(graph, kind)
    log_p = _tile(graph)
    p = _tile(graph)
    grad = _tile(graph)
    is_target = _tile(graph, 1)
    as_float = _tile(graph)
    difference = _tile(graph)
    del as_float
    product = _tile(graph)
    del difference, product
    grad = _tile(graph)
    if tanh is not None:
        slope = _tile(graph)
        grad = _tile(graph)
        del slope
    last = _tile(graph)
    del last, grad, is_target, p, log_p, scaled, tanh, logits


def add_gradients(graph: Graph, kind: HeadKind, *, itemsize: int, to_hidden: bool, to_head: bool) -> None:
    """The tile's two products, added to fp32 sums: on the CPU factors that are not fp32 are widened first."""
    if kind.device is Device.CUDA or itemsize == 4:
        return
    if to_hidden:
        factors = [_tile(graph), graph.new(("V32768", "H"), 4, term=TermName.LOGITS)]
        factors.clear()
    if to_head:
        factors = [_tile(graph), graph.new(("M4096", "H"), 4, term=TermName.LOGITS)]
        factors.clear()


def _tile(graph: Graph, itemsize: int = 4) -> Tensor:
    return graph.new(TILE, itemsize, term=TermName.LOGITS)


def _widened(graph: Graph, itemsize: int) -> Tensor | None:
    """``tile.float()``: itself where it is fp32."""
    return None if itemsize == 4 else _tile(graph)


def _transformed(graph: Graph, kind: HeadKind, itemsize: int) -> Tensor:
    """``_torch_transform``: times the scale, soft-capped, over the temperature."""
    widened = _widened(graph, itemsize)
    logits = _tile(graph)
    del widened
    if kind.soft_caps:
        tanh = _tanh(graph)
        del logits
        logits = _tile(graph)
        del tanh
    scaled = _tile(graph)
    del logits
    return scaled


def _tanh(graph: Graph) -> Tensor:
    quotient = _tile(graph)
    tanh = _tile(graph)
    del quotient
    return tanh


def _scaled(graph: Graph, kind: HeadKind) -> Tensor:
    """Over the temperature; soft-capped, times the cap before."""
    capped = _tile(graph) if kind.soft_caps else None
    scaled = _tile(graph)
    del capped
    return scaled
