"""One decoder layer of the Llama lineage, forward, with the same local variables as transformers' modules.

Sources: transformers 5.23, models/{llama,mistral,qwen2,qwen3,smollm3,phi3,gemma2}/modeling_*.py.
"""

from __future__ import annotations

import attrs

from backprop.plan.memory import operators as op
from backprop.plan.memory.attention import Attention
from backprop.plan.memory.autograd import Graph, Tensor
from backprop.plan.memory.projection import Projection


@attrs.frozen(eq=False)
class RmsNorm:
    """Root-mean-square norm of the last dimension, in fp32."""

    weight: Tensor
    rows: tuple[str, ...]
    """Dims of the statistics: one number a token (and head)."""
    one_plus: bool
    """Gemma's: times (1 + weight) before the cast back, not times weight after it."""

    def __call__(self, graph: Graph, x: Tensor) -> Tensor:
        """Same dims in and out."""
        if self.one_plus:
            return self._gemma(graph, x)
        source = x.itemsize
        x = op.cast(graph, x, 4)
        variance = op.mean(graph, op.square(graph, x), self.rows)
        x = op.multiply(graph, x, op.pointwise_of_result(graph, op.add_constant(graph, variance), num_temporaries=2))
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

    input_norm: RmsNorm
    attention: Attention
    attention_norm: RmsNorm | None
    """Gemma's second norm of a block: on the attention's output."""
    mlp_norm: RmsNorm
    mlp: Mlp
    output_norm: RmsNorm | None

    def __call__(self, graph: Graph, hidden: Tensor, cos: Tensor, sin: Tensor, *masks: Tensor) -> Tensor:
        """(T, H) -> (T, H); ``masks``: those that attention reads, of which it takes the first."""
        residual = hidden
        hidden = self.input_norm(graph, hidden)
        hidden, _weights = self.attention(graph, hidden, cos, sin, masks[0] if masks else None)
        if self.attention_norm is not None:
            hidden = self.attention_norm(graph, hidden)
        hidden = op.add(graph, residual, hidden)
        residual = hidden
        hidden = self.mlp_norm(graph, hidden)
        hidden = self.mlp(graph, hidden)
        if self.output_norm is not None:
            hidden = self.output_norm(graph, hidden)
        return op.add(graph, residual, hidden)
