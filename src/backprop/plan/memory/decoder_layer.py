"""One decoder layer of the Llama lineage, forward, with the same local variables as transformers' modules.

Sources: transformers 5.23, models/*/modeling_*.py of the families in ``FAMILIES``.
"""

from __future__ import annotations

import attrs

from backprop.plan.facts.families import NormKind
from backprop.plan.memory import operators as op
from backprop.plan.memory.attention import Attention
from backprop.plan.memory.autograd import Graph, Tensor
from backprop.plan.memory.experts import Mixture
from backprop.plan.memory.projection import Projection


@attrs.frozen(eq=False)
class RmsNorm:
    """Root-mean-square norm of the last dimension, in fp32."""

    weight: Tensor
    rows: tuple[str, ...]
    """Dims of the statistics: one number a token (and head)."""
    kind: NormKind

    def __call__(self, graph: Graph, x: Tensor) -> Tensor:
        """Same dims in and out."""
        if self.kind is NormKind.GEMMA:
            return self._gemma(graph, x)
        source = x.itemsize
        x = op.cast(graph, x, 4)
        variance = op.mean(graph, op.square(graph, x), self.rows)
        x = op.multiply(graph, x, op.pointwise_of_result(graph, op.add_constant(graph, variance), num_temporaries=2))
        if self.kind is NormKind.OLMO:
            return op.cast(graph, op.multiply(graph, self.weight, x, out=x.dims), source)
        return op.multiply(graph, self.weight, op.cast(graph, x, source), out=x.dims)

    def _gemma(self, graph: Graph, x: Tensor) -> Tensor:
        output = self._normalized(graph, op.cast(graph, x, 4))
        weight = op.add_constant(graph, op.cast(graph, self.weight, 4))
        output = op.multiply(graph, output, weight)
        del weight
        return op.cast(graph, output, x.itemsize)

    def _normalized(self, graph: Graph, x: Tensor) -> Tensor:
        variance = op.add_constant(graph, op.mean(graph, op.square(graph, x), self.rows))
        return op.multiply(graph, x, op.pointwise_of_result(graph, variance, num_temporaries=2))


@attrs.frozen(eq=False)
class Mlp:
    """Gated feed-forward network; ``gate_up`` where both stand in one projection."""

    gate: Projection | None
    up: Projection
    down: Projection

    def __call__(self, graph: Graph, x: Tensor) -> Tensor:
        """(T, H) -> (T, H)."""
        if self.gate is None:
            return self._fused(graph, x)
        inner = self._inner(graph, self.gate, x)
        return self.down(graph, inner)

    def _inner(self, graph: Graph, gate: Projection, x: Tensor) -> Tensor:
        gated = gate(graph, x)
        gated = op.activation(graph, gated)
        return op.multiply(graph, gated, self.up(graph, x))

    def _fused(self, graph: Graph, x: Tensor) -> Tensor:
        up_states = self.up(graph, x)
        gate, up_states = op.split(graph, up_states, [("T", "F"), ("T", "F")])
        up_states = op.multiply(graph, up_states, op.activation(graph, gate))
        return self.down(graph, up_states)


@attrs.frozen(eq=False)
class DecoderLayer:
    """Norm, attention, norm, feed-forward network, with their residuals."""

    input_norm: RmsNorm | None
    attention: Attention
    attention_norm: RmsNorm | None
    """On the attention's output: OLMo 2's only norm of the block, Gemma's second."""
    mlp_norm: RmsNorm | None
    mlp: Mlp | Mixture
    output_norm: RmsNorm | None
    scales_residuals: bool
    """Granite multiplies what attention and network add."""

    def __call__(self, graph: Graph, hidden: Tensor, cos: Tensor, sin: Tensor, *masks: Tensor) -> Tensor:
        """(T, H) -> (T, H); ``masks``: those that attention reads, of which it takes the first."""
        residual = hidden
        if self.input_norm is not None:
            hidden = self.input_norm(graph, hidden)
        hidden, _weights = self.attention(graph, hidden, cos, sin, masks[0] if masks else None)
        if self.attention_norm is not None:
            hidden = self.attention_norm(graph, hidden)
        hidden = self._added(graph, residual, hidden)
        residual = hidden
        if self.mlp_norm is not None:
            hidden = self.mlp_norm(graph, hidden)
        hidden = self.mlp(graph, hidden)
        if self.output_norm is not None:
            hidden = self.output_norm(graph, hidden)
        return self._added(graph, residual, hidden)

    def _added(self, graph: Graph, residual: Tensor, hidden: Tensor) -> Tensor:
        return op.add(graph, residual, op.scale(graph, hidden) if self.scales_residuals else hidden)
