"""A linear layer of the model: plain, quantized to 4 bit, with a LoRA or a DoRA adapter.

With dropout each adapter drops of its input for itself, so layers that read one tensor no longer share what they save.
Sources: peft/tuners/lora/layer.py, bnb.py, dora.py and variants.py (0.21), bitsandbytes/nn/modules.py (0.50).
"""

from __future__ import annotations

import attrs

from backprop.plan.memory import operators as op
from backprop.plan.memory.autograd import Graph, Tensor


@attrs.frozen(eq=False)
class Projection:
    """One linear layer with what is trained of it; weights carry no memory on the tape."""

    inputs: str
    outputs: str
    weight: Tensor
    bias: Tensor | None
    is_quantized: bool
    lora_a: Tensor | None = None
    lora_b: Tensor | None = None
    magnitude: Tensor | None = None
    dropout: bool = False

    def __call__(self, graph: Graph, x: Tensor) -> Tensor:
        """(T, inputs) -> (T, outputs)."""
        if self.lora_a is None or self.lora_b is None:
            return self._base(graph, x)
        if self.is_quantized:
            return self._add_to_4bit(graph, x, self.lora_a, self.lora_b)
        return self._add(graph, x, self.lora_a, self.lora_b)

    def _base(self, graph: Graph, x: Tensor) -> Tensor:
        if self.is_quantized:
            return op.linear_4bit(graph, x, (self.outputs, self.inputs), ("T", self.outputs))
        return op.linear(graph, x, self.weight, ("T", self.outputs), bias=self.bias)

    def _add(self, graph: Graph, x: Tensor, lora_a: Tensor, lora_b: Tensor) -> Tensor:
        """``Linear.forward``: x is cast to the adapter's dtype, the sum back to the base layer's."""
        result = self._base(graph, x)
        source = result.itemsize
        x = op.cast(graph, x, lora_a.itemsize)
        if self.magnitude is None:
            result = op.add(graph, result, op.scale(graph, self._low_rank(graph, x, lora_a, lora_b)))
        else:
            result = op.add(graph, result, self._dora(graph, x, result, lora_a, lora_b, self.magnitude))
        return op.cast(graph, result, source)

    def _add_to_4bit(self, graph: Graph, x: Tensor, lora_a: Tensor, lora_b: Tensor) -> Tensor:
        """``Linear4bit.forward``: a defensive clone of the result, and casts to the adapter's dtype and back.

        PEFT leaves the casts out where ``torch.is_autocast_enabled()``, which asks for CUDA only. The reference points
        have them; they matter for fp32 adapters and magnitudes, whose sum would otherwise stay in fp32.
        """
        result = self._base(graph, x)
        result = op.copy(graph, result)
        source = result.itemsize
        x = op.cast(graph, x, lora_a.itemsize)
        if self.magnitude is None:
            output = op.scale(graph, self._low_rank(graph, x, lora_a, lora_b))
            output = op.cast(graph, output, source)
            return op.add(graph, result, output)
        result = op.add(graph, result, self._dora(graph, x, result, lora_a, lora_b, self.magnitude))
        return op.cast(graph, result, source)

    def _low_rank(self, graph: Graph, x: Tensor, lora_a: Tensor, lora_b: Tensor) -> Tensor:
        """``lora_B(lora_A(dropout(x)))``; DoRA has dropped already."""
        down = self._down(graph, x, lora_a)
        return op.linear(graph, down, lora_b, ("T", self.outputs))

    def _down(self, graph: Graph, x: Tensor, lora_a: Tensor) -> Tensor:
        dropped = op.dropout(graph, x) if self.dropout and self.magnitude is None else x
        return op.linear(graph, dropped, lora_a, ("T", "R"))

    def _dora(
        self, graph: Graph, x: Tensor, result: Tensor, lora_a: Tensor, lora_b: Tensor, magnitude: Tensor
    ) -> Tensor:
        """``DoraLinearLayer.forward``: ΔW as the adapter of an identity matrix, then the norm of W + ΔW.

        With dropout the base layer is applied once more, to what is left of x, and the dequantized weight is saved.
        """
        if self.dropout:
            x = op.dropout(graph, x)
        lora_weight = self._lora_weight(graph, lora_a, lora_b)
        lora_weight = op.cast(graph, lora_weight, x.itemsize)
        weight = op.dequantize(graph, (self.outputs, self.inputs)) if self.is_quantized else self.weight.detached()
        weight = op.cast(graph, weight, x.itemsize)
        norm = self._weight_norm(graph, weight, lora_weight.detached())
        ratio = op.multiply(graph, magnitude, norm)
        lora_result = self._low_rank(graph, x, lora_a, lora_b)
        if self.dropout:
            result = op.linear(graph, x, weight, ("T", self.outputs))
        elif self.bias is not None:
            result = op.add_constant(graph, result)
        out = ("T", self.outputs)
        direct = op.multiply(graph, op.add_constant(graph, ratio), result, out=out)
        return op.add(graph, direct, op.scale(graph, op.multiply(graph, ratio, lora_result, out=out)))

    def _lora_weight(self, graph: Graph, lora_a: Tensor, lora_b: Tensor) -> Tensor:
        identity = graph.new((self.inputs, self.inputs), lora_a.itemsize)
        down = op.linear(graph, identity, lora_a, (self.inputs, "R"))
        return op.linear(graph, down, lora_b, (self.inputs, self.outputs))

    def _weight_norm(self, graph: Graph, weight: Tensor, lora_weight: Tensor) -> Tensor:
        weight = op.add(graph, op.scale(graph, lora_weight), weight)
        return graph.new((self.outputs,), weight.itemsize)
