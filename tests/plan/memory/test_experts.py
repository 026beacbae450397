"""Mixtures of experts: the tape and the prediction against transformers' own models on the CPU."""

from __future__ import annotations

import itertools

import pytest
import torch
from benchmarks.storage_tracker import measure
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.integrations.bitsandbytes import replace_with_bnb_linear

from backprop.plan.facts.architectures import ARCHITECTURES
from backprop.plan.memory import operators as op
from backprop.plan.memory.autograd import Graph, Tensor
from backprop.plan.memory.experts import Mixture
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.static import static_bytes, trainable_parameters
from backprop.plan.memory.tape import Tape
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import MemoryMethod, TrainingShape
from tests.plan.memory.steps import (
    EXPERT_WIDTH,
    HIDDEN,
    NUM_EXPERTS,
    NUM_TOKENS,
    config_of,
    measured_bytes,
    model_of,
    on_cpu,
    predicted_bytes,
)

FAMILIES = ("mixtral", "qwen3_moe", "olmoe")
SIZES = {
    "T": NUM_TOKENS,
    "H": HIDDEN,
    "E": NUM_EXPERTS,
    "I": EXPERT_WIDTH,
    "2I": 2 * EXPERT_WIDTH,
    "A": 2 * NUM_TOKENS,
}


def of_a_step(shape: MemoryShape, training: TrainingShape) -> dict[TermName, int]:
    return static_bytes(shape, training, trainable_parameters(shape, training))


def shape_of(family: str) -> MemoryShape:
    return MemoryShape.from_config(config_of(family).to_dict())


def traced_peak(family: str, *, trained: bool) -> int:
    """Peak bytes of a mixture's forward and backward on the tape, without the loss on its router's balance."""
    tape = Tape()
    graph = Graph(tape, autocast=False)
    x = Tensor(("T", "H"), 2, None, needs_grad=True)
    router, gate_up, down = (
        Tensor(dims, 2, None, needs_grad=trained) for dims in (("E", "H"), ("E", "2I", "H"), ("E", "H", "I"))
    )
    out = Mixture(router, gate_up, down, scores_in_fp32=family == "mixtral")(graph, x)
    graph.router_logits.clear()
    graph.router_balance.clear()
    loss = op.mean(graph, out, ())
    del out
    graph.backward(loss)
    tape.is_closed = True
    sizes = [size_of(tape, symbol) for symbol in range(len(tape.symbols))]
    return max(itertools.accumulate(sizes[event] if event >= 0 else -sizes[~event] for event in tape.events))


def size_of(tape: Tape, symbol: int) -> int:
    size = tape.symbols[symbol].itemsize
    for dim in tape.symbols[symbol].dims:
        size *= SIZES[dim]
    return size


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_mixture_takes_what_transformers_takes(family: str, trained: bool) -> None:
    """All but sorted indices of a few bytes a token, which kernels of CPU and CUDA make differently."""
    block = model_of(config_of(family)).model.layers[0].mlp.requires_grad_(trained)
    x = torch.randn(1, SIZES["T"], SIZES["H"], dtype=torch.bfloat16, requires_grad=True)
    alive = [*block.parameters(), x]
    measured = measure(lambda: block(x).mean().backward(), alive=alive, block=1)
    expected = measured.peak_bytes - sum(int(tensor.nbytes) for tensor in alive)
    assert traced_peak(family, trained=trained) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("checkpoints", [False, True])
@pytest.mark.parametrize("method", [MemoryMethod.LORA, MemoryMethod.FULL])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_takes_what_is_predicted(family: str, method: MemoryMethod, checkpoints: bool) -> None:
    config, training = config_of(family), on_cpu(method, checkpoints=checkpoints)
    assert predicted_bytes(config, training) == pytest.approx(measured_bytes(config, training), rel=0.01)


@pytest.mark.parametrize("family", FAMILIES)
def test_four_bits_reach_attention_alone(family: str) -> None:
    """bitsandbytes replaces linear layers; experts are parameters of their own and stay in bf16."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(family), dtype=torch.bfloat16)
        quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
        replace_with_bnb_linear(model, modules_to_not_convert=["lm_head"], quantization_config=quantization)
    packed = {name for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"}
    assert {name.rpartition(".")[2] for name in packed} == {one.name for one in shape_of(family).linear_layers}
    rest = [weight for name, weight in model.named_parameters() if name.rpartition(".")[0] not in packed]
    terms = of_a_step(shape_of(family), TrainingShape(method=MemoryMethod.QLORA))
    kept = sum(-(-2 * weight.numel() // 512) * 512 for weight in rest)
    four_bit = sum(one.in_features * one.out_features // 2 for one in shape_of(family).linear_layers) * 4
    assert terms[TermName.FROZEN_WEIGHTS] == kept + four_bit


def test_qlora_of_a_mixture_holds_almost_all_of_its_weights_in_bf16() -> None:
    shape = MemoryShape.from_config(ARCHITECTURES["Qwen/Qwen3-30B-A3B"])
    terms = of_a_step(shape, TrainingShape(method=MemoryMethod.QLORA))
    assert terms[TermName.FROZEN_WEIGHTS] / 2**30 == pytest.approx(55.6, abs=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_full_fine_tuning_trains_every_expert(family: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(family))
    shape = shape_of(family)
    groups = trainable_parameters(shape, TrainingShape(method=MemoryMethod.FULL))
    expected = sorted(weight.numel() for weight in model.parameters())
    assert sorted(group.numel for group in groups for _ in range(group.count)) == expected
