"""Every parameter tensor that a model's shape implies: the one place that counts weights and says which have a bias."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import attrs

from backprop.plan.facts.families import NormPlace, QueryNorm, family_of
from backprop.plan.facts.model import Experts, LinearLayer


class Biases(Protocol):
    """Which linear layers of a model have a bias."""

    @property
    def has_qkv_bias(self) -> bool: ...
    @property
    def has_output_bias(self) -> bool: ...
    @property
    def has_mlp_bias(self) -> bool: ...


class DecoderShape(Biases, Protocol):
    """The numbers of a decoder-only model that its weights follow from."""

    @property
    def model_type(self) -> str: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def num_heads(self) -> int: ...
    @property
    def num_kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def tie_word_embeddings(self) -> bool: ...
    @property
    def linear_layers(self) -> tuple[LinearLayer, ...]: ...
    @property
    def experts(self) -> Experts | None: ...


@attrs.frozen
class Tensors:
    """``count`` equal tensors of ``numel`` elements."""

    numel: int
    count: int
    columns: int = 0
    """Size of a matrix's last dimension; 0 for a vector."""
    is_embedding: bool = False
    is_linear: bool = False
    """The matrix of a linear layer within a decoder layer, which alone is ever quantized."""


def has_bias(model: Biases, name: str) -> bool:
    """Whether the linear layer ``name`` has a bias; one of a name that no family has here is taken to have none."""
    if name in ("q_proj", "k_proj", "v_proj", "qkv_proj"):
        return model.has_qkv_bias
    if name == "o_proj":
        return model.has_output_bias
    return model.has_mlp_bias and name in ("gate_proj", "up_proj", "gate_up_proj", "down_proj")


def count_parameters(model: DecoderShape) -> int:
    """Every weight that the model's shape implies: embeddings, head unless tied, layers and the last norm."""
    return sum(tensors.numel * tensors.count for tensors in parameters_of(model))


def parameters_of(model: DecoderShape) -> Iterator[Tensors]:
    """Embeddings, head, norms, biases, experts, then the matrices of the linear layers."""
    hidden, vocab = model.hidden_size, model.vocab_size
    yield Tensors(vocab * hidden, 1, columns=hidden, is_embedding=True)
    if not model.tie_word_embeddings:
        yield Tensors(vocab * hidden, 1, columns=hidden)
    yield from _norms(model)
    for linear in model.linear_layers:
        if has_bias(model, linear.name):
            yield Tensors(linear.out_features, linear.times(model.num_layers))
    if model.experts is not None:
        yield from _mixture(model, model.experts)
    for linear in model.linear_layers:
        numel = linear.in_features * linear.out_features
        yield Tensors(numel, linear.times(model.num_layers), columns=linear.in_features, is_linear=True)


def _norms(model: DecoderShape) -> Iterator[Tensors]:
    family, layers = family_of(model.model_type), model.num_layers
    around = 4 if family.norm_place is NormPlace.BOTH else 2
    yield Tensors(model.hidden_size, layers * around + 1)
    if family.query_norm is QueryNorm.HEAD:
        yield Tensors(model.head_dim, 2 * layers)
    if family.query_norm is QueryNorm.WIDE:
        yield Tensors(model.num_heads * model.head_dim, layers)
        yield Tensors(model.num_kv_heads * model.head_dim, layers)


def _mixture(model: DecoderShape, experts: Experts) -> Iterator[Tensors]:
    """Router and experts, the expert of every token with its gate, and the plain networks of layers without experts."""
    hidden, layers, inner = model.hidden_size, experts.num_layers, experts.intermediate_size
    yield Tensors(experts.count * hidden, layers, columns=hidden)
    yield Tensors(experts.count * 2 * inner * hidden, layers, columns=hidden)
    yield Tensors(experts.count * inner * hidden, layers, columns=inner)
    if shared := experts.shared_intermediate_size:
        yield Tensors(shared * hidden, 2 * layers, columns=hidden)
        yield Tensors(shared * hidden, layers, columns=shared)
        yield Tensors(hidden, layers, columns=hidden)
    if plain := model.num_layers - layers:
        yield Tensors(model.intermediate_size * hidden, 2 * plain, columns=hidden)
        yield Tensors(model.intermediate_size * hidden, plain, columns=model.intermediate_size)
