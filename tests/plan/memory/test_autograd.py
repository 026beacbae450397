"""The tape against torch: what a real layer of a real graph saves and allocates on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from backprop.plan.facts.families import NormKind
from backprop.plan.memory import operators as op
from backprop.plan.memory.autograd import Graph, Tensor
from backprop.plan.memory.decoder_layer import RmsNorm
from backprop.plan.memory.tape import Tape

SIZES = {"T": 64, "H": 32, "F": 96}


class SavedBytes:
    """Bytes of the distinct storages that a graph saves, parameters left out."""

    def __init__(self, parameters: list[torch.Tensor]) -> None:
        self.parameters = {parameter.untyped_storage().data_ptr() for parameter in parameters}
        self.storages: dict[int, Any] = {}

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.parameters:
            self.storages[storage.data_ptr()] = storage
        return tensor

    @property
    def total(self) -> int:
        return sum(storage.nbytes() for storage in self.storages.values())


def torch_saved(run: Callable[[torch.Tensor], torch.Tensor], parameters: list[torch.Tensor]) -> int:
    x = torch.randn(SIZES["T"], SIZES["H"], dtype=torch.bfloat16, requires_grad=True)
    saved = SavedBytes(parameters)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        run(x)
    return saved.total


def traced_saved(run: Callable[[Graph, Tensor], Tensor]) -> int:
    """Bytes alive after the forward, less the result's when nothing saved it."""
    tape = Tape()
    graph = Graph(tape, autocast=False)
    x = graph.new(("T", "H"), 2)
    x.needs_grad = True
    node = run(graph, x).node
    assert node is not None
    alive = 0
    for event in tape.events:
        symbol = tape.symbols[event if event >= 0 else ~event]
        size = symbol.itemsize
        for dim in symbol.dims:
            size *= SIZES[dim]
        alive += size if event >= 0 else -size
    tape.is_closed = True
    return alive


def weight(dims: tuple[str, ...], *, trained: bool) -> Tensor:
    return Tensor(dims, 2, None, needs_grad=trained)


@pytest.mark.parametrize("trained", [True, False])
def test_a_norm_saves_what_torch_saves(trained: bool) -> None:
    parameter = nn.Parameter(torch.ones(SIZES["H"], dtype=torch.bfloat16), requires_grad=trained)

    def run(x: torch.Tensor) -> torch.Tensor:
        wide = x.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return parameter * wide.to(torch.bfloat16)

    norm = RmsNorm(weight(("H",), trained=trained), ("T",), NormKind.LLAMA)
    traced = traced_saved(norm)
    # x itself is alive on the tape, but torch saves only its fp32 copy.
    assert traced - 2 * SIZES["T"] * SIZES["H"] == torch_saved(run, [parameter])


@pytest.mark.parametrize("trained", [True, False])
def test_a_gated_mlp_saves_what_torch_saves(trained: bool) -> None:
    gate, up = (nn.Linear(SIZES["H"], SIZES["F"], bias=False, dtype=torch.bfloat16) for _ in range(2))
    down = nn.Linear(SIZES["F"], SIZES["H"], bias=False, dtype=torch.bfloat16)
    parameters = [layer.weight.requires_grad_(trained) for layer in (gate, up, down)]

    def run(x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = down(nn.functional.silu(gate(x)) * up(x))
        return out

    def trace(graph: Graph, x: Tensor) -> Tensor:
        gated = op.linear(graph, x, weight(("F", "H"), trained=trained), ("T", "F"))
        gated = op.activation(graph, gated)
        inner = op.multiply(graph, gated, op.linear(graph, x, weight(("F", "H"), trained=trained), ("T", "F")))
        return op.linear(graph, inner, weight(("H", "F"), trained=trained), ("T", "H"))

    expected = torch_saved(run, [*parameters])
    unsaved_input = 0 if trained else 2 * SIZES["T"] * SIZES["H"]
    assert traced_saved(trace) - unsaved_input == expected
