"""A mixture of experts: a router that chooses for each token, and grouped matrix products over all that were chosen.

``A`` = tokens · experts per token, ``E`` experts of a layer, ``I`` width of one.
Sources: transformers 5.23, integrations/moe.py (``grouped_mm_experts_forward``, the default in training) and
models/{mixtral,qwen3_moe,olmoe}/modeling_*.py. All experts stand in two three-dimensional parameters, so that neither
bitsandbytes quantizes them nor an adapter on linear layers reaches them.
"""

from __future__ import annotations

import attrs

from backprop.plan.memory import operators as op
from backprop.plan.memory.autograd import Dims, Graph, Tensor


@attrs.frozen(eq=False)
class Mixture:
    """Router and experts of one layer."""

    router: Tensor
    gate_up: Tensor
    down: Tensor
    scores_in_fp32: bool
    """Mixtral weighs what experts give in fp32, the others in the logits' dtype."""

    def __call__(self, graph: Graph, x: Tensor) -> Tensor:
        """(T, H) -> (T, H)."""
        _logits, scores, chosen = self._route(graph, x)
        return self._experts(graph, x, scores, chosen)

    def _route(self, graph: Graph, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (T, E), and for each choice its score and its expert (A)."""
        logits = op.linear(graph, x, self.router, ("T", "E"))
        graph.balance(logits)
        probabilities = op.softmax(graph, logits)
        scores, chosen = _top(graph, probabilities)
        return logits, scores if self.scores_in_fp32 else op.cast(graph, scores, logits.itemsize), chosen

    def _experts(self, graph: Graph, x: Tensor, scores: Tensor, chosen: Tensor) -> Tensor:
        """Tokens sorted by expert, both products, and what came out weighed, put back in order and added up."""
        source = x.itemsize
        sorted_experts, permutation = graph.new(chosen.dims, 8), graph.new(chosen.dims, 8)
        selected = _gather(graph, x, graph.new(("A",), 8), ("A", "H"))
        scores = _gather(graph, scores, permutation, ("A",))
        projected = _grouped(graph, selected, self.gate_up, ("A", "2I"))
        projected = _gated(graph, projected)
        projected = _grouped(graph, projected, self.down, ("A", "H"))
        weighted = op.multiply(graph, projected, scores, out=("A", "H"))
        inverse = graph.new(("A",), 8)
        weighted = _gather(graph, weighted, inverse, ("A", "H"))
        added = op.cast(graph, _added_up(graph, weighted), source)
        del selected, sorted_experts  # local variables of the forward, alive to its end
        return added


def _top(graph: Graph, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """``topk``: saves the indices; backward scatters into zeros."""
    dims = probabilities.dims
    node = graph.record([probabilities], lambda g, _saved, _grads: [g.new(dims, 4)])
    values, indices = graph.result(("A",), 4, node), graph.new(("A",), 8)
    graph.save(node, indices)
    return values, indices


def _gather(graph: Graph, x: Tensor, index: Tensor, dims: Dims) -> Tensor:
    """``x[index]``: saves the index; backward adds into zeros of the shape of x."""
    whole, itemsize = x.dims, x.itemsize
    node = graph.record([x], lambda g, _saved, _grads: [g.new(whole, itemsize)], [index])
    return graph.result(dims, itemsize, node)


def _grouped(graph: Graph, x: Tensor, weight: Tensor, dims: Dims) -> Tensor:
    """``grouped_mm``, which autocast leaves alone: x takes the weight's dtype, gradients are of all experts."""
    x = op.cast(graph, x, weight.itemsize)
    return op.matmul(graph, x, weight, dims)


def _gated(graph: Graph, projected: Tensor) -> Tensor:
    gate, up = op.split(graph, projected, [("A", "I"), ("A", "I")])
    return op.multiply(graph, op.activation(graph, gate), up)


def _added_up(graph: Graph, x: Tensor) -> Tensor:
    """``view(T, k, H).sum(1)``: backward copies the gradient for each choice."""
    whole, itemsize = x.dims, x.itemsize

    node = graph.record([x], lambda g, _saved, _grads: [g.new(whole, itemsize)])
    return graph.result(("T", "H"), itemsize, node)
