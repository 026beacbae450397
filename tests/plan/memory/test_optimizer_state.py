"""Optimizers' states and temporaries against those that Hugging Face's Trainer makes, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import bitsandbytes
import pytest
import torch
from bitsandbytes import functional
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from backprop.effects.train import rounded_adamw
from backprop.effects.train.rounded_adamw import RoundedAdamW
from backprop.plan.memory import optimizer_state
from backprop.plan.memory.device import Device
from backprop.plan.memory.optimizer_state import memory_optimizer, paged_bytes, state_bytes, step_bytes
from backprop.plan.memory.parameter import ParameterGroup, rounded
from backprop.plan.memory.predict import predict
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.static import trainable_parameters
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import MemoryMethod, MemoryOptimizer, TrainingShape
from backprop.plan.settings.training import Optimizer
from tests.plan.memory.allocations import Allocations

CONFIG = LlamaConfig(
    vocab_size=1024,
    hidden_size=128,
    intermediate_size=512,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    tie_word_embeddings=False,
    pad_token_id=0,
)
SHAPE = MemoryShape.from_config(CONFIG.to_dict())
DECIDED = [optimizer for optimizer in Optimizer if optimizer is not Optimizer.AUTO]


def training_of(optimizer: Optimizer, *, fp32: bool = False) -> TrainingShape:
    return TrainingShape(
        method=MemoryMethod.FULL,
        optimizer=memory_optimizer(optimizer),
        fp32_weights=fp32,
        fp32_embedding_states=True,
    )


def groups_of(training: TrainingShape) -> tuple[ParameterGroup, ...]:
    return trainable_parameters(SHAPE, training)


def trainers_optimizer(optimizer: Optimizer, directory: Path, *, fp32: bool = False) -> Any:
    """The optimizer of a Trainer whose model has gradients; many tensors at once, as on a card."""
    bitsandbytes.optim.GlobalOptimManager.get_instance().initialize()
    model = LlamaForCausalLM(CONFIG).to(torch.float32 if fp32 else torch.bfloat16)
    arguments = TrainingArguments(
        output_dir=str(directory), optim=optimizer.value, use_cpu=True, weight_decay=0.01, report_to="none"
    )
    made = Trainer(model=model, args=arguments).create_optimizer()
    for group in made.param_groups:
        if optimizer in (Optimizer.ADAMW_TORCH, Optimizer.SGD):
            group["foreach"] = True
        for parameter in group["params"]:
            parameter.grad = torch.randn_like(parameter)
    return made


def bytes_in_state(made: Any, *, with_step: bool) -> int:
    """Of the distinct tensors of a state; the count of steps stays on the host unless the kernel is fused."""
    tensors = {
        tensor.data_ptr(): tensor
        for state in made.state.values()
        for name, tensor in state.items()
        if isinstance(tensor, torch.Tensor) and (with_step or name != "step")
    }
    return sum(rounded(tensor.nbytes) for tensor in tensors.values())


def rounded_steps(*, fp32: bool) -> tuple[Allocations, Any, TrainingShape]:
    """What the second step of our own AdamW allocates, the optimizer, and the training that it is one of."""
    model = LlamaForCausalLM(CONFIG).to(torch.float32 if fp32 else torch.bfloat16)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    made = RoundedAdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    made.step()
    allocations = Allocations()
    with allocations.measured():
        made.step()
    return allocations, made, attrs.evolve(training_of(Optimizer.SGD, fp32=fp32), optimizer=ADAMW_ROUNDED)


ADAMW_ROUNDED = MemoryOptimizer.ADAMW_ROUNDED


@pytest.mark.parametrize("device", Device)
@pytest.mark.parametrize("fp32", [False, True])
def test_the_state_of_our_own_adamw_is_two_moments_and_no_step(fp32: bool, device: Device) -> None:
    _, made, training = rounded_steps(fp32=fp32)
    training = attrs.evolve(training, device=device)
    assert state_bytes(groups_of(training), training) == bytes_in_state(made, with_step=True)


@pytest.mark.parametrize("elements_at_once", [1 << 14, 1 << 22])
@pytest.mark.parametrize("fp32", [False, True])
def test_a_step_of_our_own_adamw_needs_some_tensors_of_a_slice(
    monkeypatch: pytest.MonkeyPatch, fp32: bool, elements_at_once: int
) -> None:
    for module in (rounded_adamw, optimizer_state):
        monkeypatch.setattr(module, "ROUNDED_SLICE", elements_at_once)
    allocations, _, training = rounded_steps(fp32=fp32)
    expected = pytest.approx(allocations.peak_bytes, rel=0.01)
    for device in Device:
        assert step_bytes(groups_of(training), attrs.evolve(training, device=device)) == expected


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("fp32", [False, True])
@pytest.mark.parametrize("optimizer", DECIDED)
def test_the_state_is_the_librarys(optimizer: Optimizer, fp32: bool, tmp_path: Path) -> None:
    made = trainers_optimizer(optimizer, tmp_path, fp32=fp32)
    made.step()
    training = training_of(optimizer, fp32=fp32)
    expected = bytes_in_state(made, with_step=optimizer is Optimizer.ADAMW_TORCH_FUSED)
    assert state_bytes(groups_of(training), training) == expected


@pytest.mark.parametrize("fp32", [False, True])
@pytest.mark.parametrize(
    "optimizer", [Optimizer.ADAMW_TORCH, Optimizer.ADAMW_TORCH_FUSED, Optimizer.ADAFACTOR, Optimizer.SGD]
)
def test_a_step_needs_what_the_librarys_needs(optimizer: Optimizer, fp32: bool, tmp_path: Path) -> None:
    made = trainers_optimizer(optimizer, tmp_path, fp32=fp32)
    made.step()
    allocations = Allocations()
    with allocations.measured():
        made.step()
    training = training_of(optimizer, fp32=fp32)
    weights = sum(group.count * group.numel * group.itemsize for group in groups_of(training))
    assert step_bytes(groups_of(training), training) == pytest.approx(
        allocations.peak_bytes, rel=0.01, abs=weights // 100
    )


def test_moments_of_large_tensors_are_paged(monkeypatch: pytest.MonkeyPatch) -> None:
    paged: list[torch.Tensor] = []

    def get_paged(*shape: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        paged.append(torch.zeros(shape, dtype=dtype, device=device))
        return paged[-1]

    monkeypatch.setattr(functional, "get_paged", get_paged)
    monkeypatch.setattr(functional, "fill", lambda *_: None)
    manager = bitsandbytes.optim.GlobalOptimManager.get_instance()
    manager.initialize()
    with torch.device("meta"):
        model = LlamaForCausalLM(CONFIG).to(torch.bfloat16)
    manager.register_module_override(model.get_input_embeddings(), "weight", {"optim_bits": 32})
    made = bitsandbytes.optim.PagedAdamW8bit(model.parameters())
    made.check_overrides()
    (group,) = made.param_groups
    for index, parameter in enumerate(group["params"]):
        made.init_state(group, parameter, 0, index)
    training = training_of(Optimizer.PAGED_ADAMW_8BIT)
    assert 0 < paged_bytes(groups_of(training), training) == sum(rounded(tensor.nbytes) for tensor in paged)


def test_only_paged_state_may_leave_the_card() -> None:
    plans = {
        optimizer: predict(SHAPE, attrs.evolve(training_of(Optimizer.SGD), optimizer=optimizer))
        for optimizer in MemoryOptimizer
    }
    for optimizer, plan in plans.items():
        state = sum(term.bytes for term in plan.terms if term.name is TermName.OPTIMIZER)
        if optimizer is MemoryOptimizer.ADAMW_8BIT_PAGED:
            assert 0 < plan.paged_bytes < state
        else:
            assert plan.paged_bytes == 0


def test_embeddings_of_8_bit_states_cost_eight_bytes_an_element_in_fp32() -> None:
    wide = training_of(Optimizer.ADAMW_8BIT)
    narrow = attrs.evolve(wide, fp32_embedding_states=False)
    numel = CONFIG.vocab_size * CONFIG.hidden_size
    difference = state_bytes(groups_of(wide), wide) - state_bytes(groups_of(narrow), narrow)
    assert difference == 8 * numel - 2 * numel - 2 * 4 * numel // 256


def test_an_optimizer_that_is_not_decided_has_no_memory() -> None:
    with pytest.raises(KeyError):
        memory_optimizer(Optimizer.AUTO)
