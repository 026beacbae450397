"""Mixtures of experts: the tape and the prediction against transformers' own models on the CPU."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from benchmarks.storage_tracker import measure
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig
from transformers.integrations.bitsandbytes import replace_with_bnb_linear

from backprop.plan.facts.architectures import ARCHITECTURES
from backprop.plan.memory import operators as op
from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.autograd import Graph, Tensor
from backprop.plan.memory.experts import Mixture
from backprop.plan.memory.predict import predict
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.static import linear_shapes, static_bytes, trainable_parameters
from backprop.plan.memory.tape import Tape
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import AdapterDtype, LossHead, MemoryMethod, TrainingShape

FAMILIES = ("mixtral", "qwen3_moe", "olmoe")
SIZES = {"T": 512, "H": 128, "E": 8, "I": 64, "2I": 128, "A": 1024}
ADAPTED = ["q_proj", "k_proj", "v_proj", "o_proj"]


def config_of(family: str) -> Any:
    experts = {"num_local_experts" if family == "mixtral" else "num_experts": SIZES["E"]}
    return AutoConfig.for_model(
        family,
        hidden_size=SIZES["H"],
        intermediate_size=SIZES["I"],
        moe_intermediate_size=SIZES["I"],
        num_experts_per_tok=SIZES["A"] // SIZES["T"],
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        vocab_size=512,
        pad_token_id=0,
        output_router_logits=True,
        attn_implementation="eager",
        **experts,
    )


def model_of(family: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config_of(family), dtype=torch.bfloat16).train()


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
    block = model_of(family).model.layers[0].mlp.requires_grad_(trained)
    x = torch.randn(1, SIZES["T"], SIZES["H"], dtype=torch.bfloat16, requires_grad=True)
    alive = [*block.parameters(), x]
    measured = measure(lambda: block(x).mean().backward(), alive=alive, block=1)
    expected = measured.peak_bytes - sum(int(tensor.nbytes) for tensor in alive)
    assert traced_peak(family, trained=trained) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("checkpoints", [False, True])
@pytest.mark.parametrize("method", [MemoryMethod.LORA, MemoryMethod.FULL])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_takes_what_is_predicted(family: str, method: MemoryMethod, checkpoints: bool) -> None:
    """Four layers, forward and backward; flash attention and the fused head have no like on the CPU."""
    model = model_of(family)
    if method is MemoryMethod.LORA:
        config = LoraConfig(r=8, target_modules=ADAPTED)
        model = get_peft_model(model, config, autocast_adapter_dtype=False)
        model.enable_input_require_grads()
    if checkpoints:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    tokens = torch.randint(1, 512, (1, SIZES["T"]))
    training = TrainingShape(
        method=method,
        rank=8,
        adapter_dtype=AdapterDtype.BF16,
        sequence=SIZES["T"],
        checkpoints=checkpoints,
        attention=AttentionKernel.EAGER,
        loss=LossHead.FULL_LOGITS,
        autocast=False,
        workspace_bytes=0,
    )
    plan = predict(shape_of(family), training)
    optimizer = sum(term.bytes for term in plan.terms if term.name is TermName.OPTIMIZER)
    alive = [*model.parameters(), *model.buffers(), tokens]

    def step() -> None:
        model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()

    measured = measure(step, alive=alive)
    assert plan.peak_bytes - optimizer == pytest.approx(measured.peak_bytes, rel=0.02)


@pytest.mark.parametrize("family", FAMILIES)
def test_four_bits_reach_attention_alone(family: str) -> None:
    """bitsandbytes replaces linear layers; experts are parameters of their own and stay in bf16."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(family), dtype=torch.bfloat16)
        quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
        replace_with_bnb_linear(model, modules_to_not_convert=["lm_head"], quantization_config=quantization)
    packed = {name for name, module in model.named_modules() if type(module).__name__ == "Linear4bit"}
    assert {name.rpartition(".")[2] for name in packed} == {one.name for one in linear_shapes(shape_of(family))}
    rest = [weight for name, weight in model.named_parameters() if name.rpartition(".")[0] not in packed]
    terms = static_bytes(shape_of(family), TrainingShape(method=MemoryMethod.QLORA))
    kept = sum(-(-2 * weight.numel() // 512) * 512 for weight in rest)
    four_bit = sum(one.in_features * one.out_features // 2 for one in linear_shapes(shape_of(family))) * 4
    assert terms[TermName.FROZEN_WEIGHTS] == kept + four_bit


def test_qlora_of_a_mixture_holds_almost_all_of_its_weights_in_bf16() -> None:
    shape = MemoryShape.from_config(ARCHITECTURES["Qwen/Qwen3-30B-A3B"])
    terms = static_bytes(shape, TrainingShape(method=MemoryMethod.QLORA))
    assert terms[TermName.FROZEN_WEIGHTS] / 2**30 == pytest.approx(55.6, abs=0.1)


@pytest.mark.parametrize("family", FAMILIES)
def test_full_fine_tuning_trains_every_expert(family: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(family))
    shape = shape_of(family)
    groups = trainable_parameters(shape, linear_shapes(shape), TrainingShape(method=MemoryMethod.FULL))
    expected = sorted(weight.numel() for weight in model.parameters())
    assert sorted(group.numel for group in groups for _ in range(group.count)) == expected
