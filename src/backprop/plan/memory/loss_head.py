"""From the last hidden states to the loss: TRL's fused head, or transformers' full logits.

Sources: trl/kernels/chunked_logprob.py and trl/trainer/utils.py (1.16); transformers/loss/loss_utils.py (5.23).
"T-B" stands for the batch · (sequence - 1) positions that have a next token, "M" for those of them that are learned,
"M4096" and "V32768" for at most that many, "32768" for the columns of the tile, which a small vocabulary leaves unused.
"""

from __future__ import annotations

from collections.abc import Sequence

from backprop.plan.memory import operators as op
from backprop.plan.memory.autograd import Graph, Tensor
from backprop.plan.memory.loss_tile import HeadKind, add_gradients, fold_backward, fold_forward
from backprop.plan.memory.term import TermName

_TILE = ("M4096", "32768")
"""The tile is as wide for a smaller vocabulary."""


def fused_loss(graph: Graph, hidden: Tensor, head: Tensor, kind: HeadKind) -> Tensor:
    """``ChunkedLogProbFunction`` on the selected tokens; (T, H) -> a scalar."""
    states = op.part(graph, hidden, ("T-B", "H"))
    mask = graph.new(("T-B",), 1)
    selected = _select(graph, states)
    targets = graph.new(("M",), 8)
    per_token = _chunked_log_probs(graph, selected, head, targets, kind)
    del selected, targets
    per_token = _scatter(graph, per_token, mask)
    total = op.mean(graph, per_token, ())
    total = op.scale(graph, total)
    return op.scale(graph, total)


def _select(graph: Graph, states: Tensor) -> Tensor:
    """``states[mask]``: saves the two index vectors of the mask; backward scatters into zeros."""
    itemsize = states.itemsize
    node = graph.record([states], lambda g, _saved, _grads: [g.new(("T-B", "H"), itemsize)])
    indices = [graph.new(("M",), 8), graph.new(("M",), 8)]
    for one in indices:
        graph.save(node, one)
    return graph.result(("M", "H"), itemsize, node)


def _scatter(graph: Graph, values: Tensor, mask: Tensor) -> Tensor:
    """``zeros.masked_scatter(mask, values)``."""
    zeros = graph.new(("T-B",), 4)
    node = graph.record([values], lambda g, _saved, _grads: [g.new(("M",), 4)], [mask])
    del zeros
    return graph.result(("T-B",), 4, node)


def _chunked_log_probs(graph: Graph, hidden: Tensor, head: Tensor, targets: Tensor, kind: HeadKind) -> Tensor:
    compute = 2 if graph.autocast else hidden.itemsize
    statistics = [graph.new(("M",), 4) for _ in range(7)]
    tile = graph.new(_TILE, compute, term=TermName.LOGITS)
    chunk = _compute_copies(graph, hidden, head)
    fold_forward(graph, kind, itemsize=compute)
    del chunk
    exponent = graph.new(("M",), 4)
    log_z = graph.new(("M",), 4)
    del exponent
    needed = (hidden.needs_grad, head.needs_grad)
    sizes = (hidden.itemsize, head.itemsize)

    def formula(g: Graph, saved: list[Tensor], _grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        """Both gradients are summed in fp32 and cast at the end."""
        grad_hidden = g.new(("M", "H"), 4) if needed[0] else None
        grad_head = g.new(("V", "H"), 4, term=TermName.LOGITS) if needed[1] else None
        tile = g.new(_TILE, compute, term=TermName.LOGITS)
        copies = _compute_copies(g, saved[0], saved[1])
        fold_backward(g, kind, itemsize=compute)
        add_gradients(g, kind, itemsize=compute, to_hidden=needed[0], to_head=needed[1])
        if sizes[0] == 2 or sizes[1] == 2:
            copies.clear()
        results = [
            _cast_gradient(g, grad_hidden, sizes[0]),
            _cast_gradient(g, grad_head, sizes[1]),
        ]
        del tile, grad_hidden, grad_head, copies
        return results

    node = graph.record([hidden, head], formula)
    per_token = graph.result(("M",), 4, node)
    for saved in (hidden, head, targets, log_z):
        graph.save(node, saved)
    del statistics, tile
    return per_token


def _compute_copies(graph: Graph, hidden: Tensor, head: Tensor) -> list[Tensor]:
    """bf16 copies of a chunk of states and of the head's rows, where those are fp32."""
    copies = []
    if hidden.itemsize == 4 and graph.autocast:
        copies.append(graph.new(("M4096", "H"), 2))
    if head.itemsize == 4 and graph.autocast:
        copies.append(graph.new(("V32768", "H"), 2))
    return copies


def _cast_gradient(graph: Graph, grad: Tensor | None, itemsize: int) -> Tensor | None:
    return None if grad is None else op.cast(graph, grad, itemsize)


def full_logits_loss(
    graph: Graph, hidden: Tensor, head: Tensor, *, soft_caps: bool, divides: bool
) -> tuple[Tensor, Tensor]:
    """``ForCausalLMLoss``: bf16 logits, their fp32 copy, its log-softmax; (T, H) -> the loss and the logits."""
    previous, graph.tape.term = graph.tape.term, TermName.LOGITS
    logits = op.linear(graph, hidden, head, ("T", "V"))
    if divides:
        logits = op.scale(graph, logits)
    if soft_caps:
        logits = op.scale(graph, logits)
        logits = op.pointwise_of_result(graph, logits)
        logits = op.scale(graph, logits)
    loss = _cross_entropy(graph, logits)
    graph.tape.term = previous
    return loss, logits


def _cross_entropy(graph: Graph, logits: Tensor) -> Tensor:
    logits = op.cast(graph, logits, 4)
    padded = graph.new(("T",), 8)
    labels = graph.new(("T",), 8)
    del padded
    log_probs = log_softmax(graph, logits)

    def formula(g: Graph, _saved: list[Tensor], _grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        return [g.new(("T", "V"), 4, term=TermName.LOGITS)]

    node = graph.record([log_probs], formula, [log_probs, labels])
    loss = graph.result((), 4, node)
    graph.save(node, graph.new((), 4))
    return loss


def log_softmax(graph: Graph, x: Tensor) -> Tensor:
    """Saves its result; backward makes one tensor."""
    dims, itemsize = x.dims, x.itemsize
    node = graph.record([x], lambda g, _saved, _grads: [g.new(dims, itemsize, term=TermName.LOGITS)])
    result = graph.result(dims, itemsize, node)
    graph.save(node, result)
    return result
