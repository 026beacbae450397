"""Self-attention: projections, rotary embedding, and one of three kernels.

``T`` = batch · sequence tokens, ``S`` sequence, ``N`` heads, ``G`` key-value heads, ``Q`` = N · head_dim,
``K`` = G · head_dim. Each layer counts as one with rotary embeddings; SmolLM3's few without keep the same tensors and
pass fewer temporaries.
Sources: transformers' ``apply_rotary_pos_emb`` and ``eager_attention_forward``; aten's flash attention backward
(aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp, ``mha_bwd``; on the CPU transformers/attention.cpp,
``_scaled_dot_product_flash_attention_cpu_backward``).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence

import attrs

from backprop.plan.memory import operators as op
from backprop.plan.memory.autograd import Graph, Tensor
from backprop.plan.memory.device import Device
from backprop.plan.memory.projection import Projection


class AttentionKernel(enum.Enum):
    """How the scores are computed."""

    FLASH = "flash"
    SDPA = "sdpa"
    EAGER = "eager"


def usable_kernel(asked: AttentionKernel, *, soft_caps: bool) -> AttentionKernel:
    """What computes attention when ``asked`` is wanted: soft capping needs the scores, which fused kernels keep not."""
    return AttentionKernel.EAGER if soft_caps else asked


@attrs.frozen
class AttentionKind:
    """What tells one attention's memory from another's."""

    kernel: AttentionKernel
    is_grouped: bool
    """Fewer key-value heads than heads."""
    has_one_kv_head: bool
    rotates_part: bool
    """Phi-3: the rotated part of a head is cut off and joined again, whether or not it is the whole head."""
    soft_caps: bool
    copies_batched: bool
    """Eager with more than one sequence: batched matmul needs batch and heads adjacent, so it copies its factors."""
    norms_last: bool
    """Gemma 3 norms queries and keys when the values are there, others as soon as each is made."""
    device: Device


@attrs.frozen(eq=False)
class Attention:
    """Queries, keys, values, the kernel, and the output projection."""

    kind: AttentionKind
    query: Projection
    """The fused ``qkv_proj`` where ``key`` is None."""
    key: Projection | None
    value: Projection | None
    output: Projection
    query_norm: Callable[[Graph, Tensor], Tensor] | None
    key_norm: Callable[[Graph, Tensor], Tensor] | None

    def __call__(
        self, graph: Graph, hidden: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """(T, H) -> (T, H), and the attention weights where the kernel makes them."""
        query, key, value = self._projected(graph, hidden)
        query, key = self._rotated(graph, query, key, cos, sin)
        attended, weights = self._kernel(graph, query, key, value, mask)
        attended = self.output(graph, attended)
        return attended, weights

    def _projected(self, graph: Graph, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.key is None or self.value is None:
            fused = self.query(graph, hidden)
            return (
                op.part(graph, fused, ("T", "Q")),
                op.part(graph, fused, ("T", "K")),
                op.part(graph, fused, ("T", "K")),
            )
        query = self.query(graph, hidden)
        if self.kind.norms_last:
            return self._normed_last(graph, query, self.key(graph, hidden), self.value(graph, hidden))
        if self.query_norm is not None:
            query = self.query_norm(graph, query)
        key = self.key(graph, hidden)
        if self.key_norm is not None:
            key = self.key_norm(graph, key)
        return query, key, self.value(graph, hidden)

    def _normed_last(self, graph: Graph, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.query_norm is not None:
            query = self.query_norm(graph, query)
        if self.key_norm is not None:
            key = self.key_norm(graph, key)
        return query, key, value

    def _rotated(self, graph: Graph, query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        if not self.kind.rotates_part:
            turned_query, turned_key = _rotate(graph, query, cos, sin), _rotate(graph, key, cos, sin)
            return op.cast(graph, turned_query, query.itemsize), op.cast(graph, turned_key, key.itemsize)
        query_rotated = op.part(graph, query, ("T", "Q", "rotary"))
        query_passed = op.part(graph, query, ("T", "Q", "1-rotary"))
        key_rotated = op.part(graph, key, ("T", "K", "rotary"))
        key_passed = op.part(graph, key, ("T", "K", "1-rotary"))
        query_embed = op.concatenate(graph, [_rotate(graph, query_rotated, cos, sin), query_passed], ("T", "Q"))
        key_embed = op.concatenate(graph, [_rotate(graph, key_rotated, cos, sin), key_passed], ("T", "K"))
        return query_embed, key_embed

    def _kernel(
        self, graph: Graph, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if self.kind.kernel is AttentionKernel.EAGER:
            return self._eager(graph, query, key, value, mask)
        if mask is not None and self.kind.kernel is AttentionKernel.SDPA:
            return self._masked(graph, query, key, value)
        return self._flash(graph, query, key, value, is_grouped=self.kind.is_grouped), None

    def _flash(
        self, graph: Graph, query: Tensor, key: Tensor, value: Tensor, *, is_grouped: bool, bias: Tensor | None = None
    ) -> Tensor:
        query, key, value = (op.autocast(graph, one) for one in (query, key, value))
        if self.kind.device is Device.CPU:
            return _flash_on_cpu(graph, query, key, value, bias=bias)
        return _flash(graph, query, key, value, is_grouped=is_grouped, bias=bias)

    def _masked(self, graph: Graph, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, None]:
        """A mask rules out grouped heads and turns into an additive bias that each layer keeps."""
        key, value = self._repeated(graph, key), self._repeated(graph, value)
        bias = graph.new(("T", "S"), 2 if graph.autocast else query.itemsize)
        return self._flash(graph, query, key, value, is_grouped=False, bias=bias), None

    def _eager(
        self, graph: Graph, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        key_states, value_states = self._repeated(graph, key), self._repeated(graph, value)
        weights = op.scale(graph, self._scores(graph, query, key_states))
        if self.kind.soft_caps:
            weights = op.scale(graph, weights)
            weights = op.pointwise_of_result(graph, weights)
            weights = op.scale(graph, weights)
        if mask is not None:
            weights = op.add_constant(graph, weights)
        weights = op.cast(graph, op.softmax(graph, weights), query.itemsize)
        attended = op.matmul(graph, op.autocast(graph, weights), self._factor(graph, value_states), ("T", "Q"))
        attended = op.copy(graph, attended)
        return attended, weights

    def _repeated(self, graph: Graph, x: Tensor) -> Tensor:
        """``repeat_kv``: a copy, but for a single head, of which ``reshape`` leaves a view."""
        if not self.kind.is_grouped:
            return x
        return (op.expand if self.kind.has_one_kv_head else op.repeat)(graph, x, ("T", "Q"))

    def _scores(self, graph: Graph, query: Tensor, key: Tensor) -> Tensor:
        return op.matmul(graph, self._factor(graph, query), self._factor(graph, key), ("T", "N", "S"))

    def _factor(self, graph: Graph, x: Tensor) -> Tensor:
        x = op.autocast(graph, x)
        return op.copy(graph, x) if self.kind.copies_batched else x


def _rotate(graph: Graph, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """``x * cos + rotate_half(x) * sin``."""
    return op.add(
        graph,
        op.multiply(graph, x, cos),
        op.multiply(graph, _rotate_half(graph, x), sin),
    )


def _rotate_half(graph: Graph, x: Tensor) -> Tensor:
    half = (*x.dims, "1/2")
    first = op.part(graph, x, half)
    second = op.part(graph, x, half)
    return op.concatenate(graph, [op.negate(graph, second, half), first], x.dims)


def _flash(
    graph: Graph, query: Tensor, key: Tensor, value: Tensor, *, is_grouped: bool, bias: Tensor | None = None
) -> Tensor:
    """Saves queries, keys, values, the output and the log-sum-exp of each row.

    Backward makes the row sums and a query gradient in fp32, both with the sequence rounded up to 128, and for grouped
    heads key and value gradients of every head before they are summed.
    """

    def formula(g: Graph, _saved: list[Tensor], _grads: list[Tensor | None]) -> Sequence[Tensor | None]:
        held = [g.new(("B", "S128", "N"), 4), g.new(("B", "S128", "Q32"), 4)]
        grads = [g.new(("T", "Q"), 2), g.new(("T", "K"), 2), g.new(("T", "K"), 2)]
        if is_grouped:
            held += [g.new(("T", "Q"), 2), g.new(("T", "Q"), 2)]
        held.clear()
        return grads

    node = graph.record([query, key, value], formula)
    output = graph.result(("T", "Q"), query.itemsize, node)
    statistics = [graph.new(("T", "N"), 4), graph.new((), 16)]
    for saved in (query, key, value, output, *statistics, *([bias] if bias is not None else [])):
        graph.save(node, saved)
    return output


def _flash_on_cpu(graph: Graph, query: Tensor, key: Tensor, value: Tensor, *, bias: Tensor | None = None) -> Tensor:
    """Saves the same, but no random state; grouped heads as they are, and backward makes the three gradients alone."""
    factors = [(one.dims, one.itemsize) for one in (query, key, value)]
    node = graph.record(
        [query, key, value], lambda g, _saved, _grads: [g.new(dims, itemsize) for dims, itemsize in factors]
    )
    output = graph.result(("T", "Q"), query.itemsize, node)
    statistics = graph.new(("T", "N"), 4)
    for saved in (query, key, value, output, statistics, *([bias] if bias is not None else [])):
        graph.save(node, saved)
    return output
