"""Adapters with dropout: the tape against PEFT's layers, tensor by tensor."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import pytest
import torch
from benchmarks.storage_tracker import measure
from peft import LoraConfig, get_peft_model
from torch import nn

from backprop.plan.memory import operators as op
from backprop.plan.memory.autograd import Graph, Tensor
from backprop.plan.memory.projection import Projection
from backprop.plan.memory.tape import Tape

SIZES = {"T": 128, "H": 64, "Q": 96, "R": 8}
NAMES = ("q_proj", "k_proj", "v_proj")


class Three(nn.Module):
    """Three linear layers that read one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (
            nn.Linear(SIZES["H"], SIZES["Q"], bias=False, dtype=torch.bfloat16) for _ in NAMES
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.q_proj(x)
        out = out + self.k_proj(x)
        added: torch.Tensor = out + self.v_proj(x)
        return added


def peft_peak(monkeypatch: pytest.MonkeyPatch, *, dropout: float, dora: bool, fp32: bool, autocast: bool) -> int:
    """Peak bytes of a forward and a backward, with the dropout that CUDA runs."""

    def native(x: torch.Tensor, p: float, training: bool, *_: bool) -> torch.Tensor:
        result: torch.Tensor = torch.native_dropout(x, p, training)[0]
        return result

    monkeypatch.setattr(torch.nn.functional, "dropout", native)
    config = LoraConfig(
        r=SIZES["R"], target_modules=list(NAMES), lora_dropout=dropout, use_dora=dora, init_lora_weights=True
    )
    model = get_peft_model(Three(), config, autocast_adapter_dtype=fp32)
    x = torch.randn(SIZES["T"], SIZES["H"], dtype=torch.bfloat16, requires_grad=True)

    def run() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16) if autocast else contextlib.nullcontext():
            loss = model(x).mean()
        loss.backward()

    alive = [*model.parameters(), x]
    return measure(run, alive=alive, block=1).peak_bytes - sum(int(tensor.nbytes) for tensor in alive)


def traced_peak(run: Callable[[Graph, Tensor], Tensor], *, autocast: bool) -> int:
    """Peak bytes of the same on the tape, x left out."""
    tape = Tape()
    graph = Graph(tape, autocast=autocast)
    graph.casts = {} if autocast else None
    x = Tensor(("T", "H"), 2, None, needs_grad=True)
    loss = op.mean(graph, run(graph, x), ())
    graph.casts = None
    graph.backward(loss)
    tape.is_closed = True
    changes = (size_of(tape, event) if event >= 0 else -size_of(tape, ~event) for event in tape.events)
    return max(itertools.accumulate(changes))


def size_of(tape: Tape, symbol: int) -> int:
    size = tape.symbols[symbol].itemsize
    for dim in tape.symbols[symbol].dims:
        size *= SIZES[dim]
    return size


def three(*, dropout: bool, dora: bool, fp32: bool) -> Callable[[Graph, Tensor], Tensor]:
    itemsize = 4 if fp32 else 2

    def one() -> Projection:
        return Projection(
            inputs="H",
            outputs="Q",
            weight=Tensor(("Q", "H"), 2, None),
            bias=None,
            is_quantized=False,
            lora_a=Tensor(("R", "H"), itemsize, None, needs_grad=True),
            lora_b=Tensor(("Q", "R"), itemsize, None, needs_grad=True),
            magnitude=Tensor(("Q",), itemsize, None, needs_grad=True) if dora else None,
            dropout=dropout,
        )

    layers = [one() for _ in NAMES]

    def run(graph: Graph, x: Tensor) -> Tensor:
        out = layers[0](graph, x)
        out = op.add(graph, out, layers[1](graph, x))
        return op.add(graph, out, layers[2](graph, x))

    return run


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("fp32", [False, True])
@pytest.mark.parametrize("dora", [False, True])
def test_adapters_that_share_an_input_take_what_peft_s_take(
    monkeypatch: pytest.MonkeyPatch, dora: bool, fp32: bool, autocast: bool
) -> None:
    traced = traced_peak(three(dropout=True, dora=dora, fp32=fp32), autocast=autocast)
    assert traced == peft_peak(monkeypatch, dropout=0.1, dora=dora, fp32=fp32, autocast=autocast)


@pytest.mark.parametrize("dora", [False, True])
def test_without_dropout_they_share_what_they_save(monkeypatch: pytest.MonkeyPatch, dora: bool) -> None:
    traced = traced_peak(three(dropout=False, dora=dora, fp32=False), autocast=True)
    assert traced == peft_peak(monkeypatch, dropout=0.0, dora=dora, fp32=False, autocast=True)
    assert traced < traced_peak(three(dropout=True, dora=dora, fp32=False), autocast=True)
