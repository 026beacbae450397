"""What a plan of full fine-tuning decides, and what it refuses."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from backprop.plan.decision import Problem, Refused
from backprop.plan.facts.model import ModelFacts
from backprop.plan.facts.processes import Processes
from backprop.plan.settings.model import Dtype
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Backend, Optimizer, TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.arguments import load_arguments, quantization_arguments, sft_arguments
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.full_precision import Rounding
from backprop.plan.training.number_format import NumberFormat
from backprop.plan.training.offload import CollectiveBackend
from backprop.plan.training.plan import TrainPlan, plan_train
from backprop.plan.wire.converter import from_data, to_data
from tests.plan.training.worlds import CPU_MACHINE, GIB, card, dataset, from_flags, planned, settings, world


def full(**groups: dict[str, Any]) -> TrainSettings:
    training = {"mode": TrainMode.FULL, **groups.pop("training", {})}
    return settings(training=training, **groups)


def refused(wanted: TrainSettings, facts: TrainFacts, origins: Origins | None = None) -> tuple[Problem, ...]:
    plan = plan_train(wanted, facts, origins=origins or Origins())
    assert isinstance(plan, Refused)
    return plan.problems


def test_a_full_plan_has_no_adapter_and_trains_every_weight() -> None:
    plan = planned(full(), world())
    assert plan.adapter is None
    assert plan.num_trainable == plan.model.num_parameters
    assert from_data(to_data(plan), TrainPlan) == plan


def test_an_unset_learning_rate_is_a_tenth_of_that_of_an_adapter() -> None:
    rate = planned(full(), world()).learning_rate.peak
    assert rate.value == pytest.approx(planned(settings(), world()).learning_rate.peak.value / 10)
    assert rate.rule == "full fine-tuning default"
    assert planned(full(training={"learning_rate": 1e-4}), world()).learning_rate.peak.value == 1e-4


def test_on_a_card_the_weights_are_bfloat16_and_updates_are_rounded_stochastically() -> None:
    plan = planned(full(), world(hardware=card(80)))
    assert load_arguments(plan)["dtype"] == "bfloat16"
    assert quantization_arguments(plan) is None
    assert plan.rounding is not None
    assert plan.rounding.value is Rounding.STOCHASTIC


def test_an_optimizer_that_rounds_to_the_nearest_is_told() -> None:
    plan = planned(full(), world(hardware=card(16)))
    assert plan.optimizer.value is Optimizer.PAGED_ADAMW_8BIT
    assert plan.rounding is not None
    assert plan.rounding.value is Rounding.NEAREST


def test_float32_weights_on_a_card_are_mixed_precision() -> None:
    plan = planned(full(model={"dtype": Dtype.FLOAT32}), world(hardware=card(80)))
    assert load_arguments(plan)["dtype"] == "float32"
    assert sft_arguments(plan, staging_dir="x")["bf16"]
    assert plan.rounding is None


def test_a_card_without_bfloat16_trains_float32_weights() -> None:
    plan = planned(full(), world(hardware=card(16, (7, 5))))
    assert load_arguments(plan)["dtype"] == "float32"
    assert sft_arguments(plan, staging_dir="x")["fp16"]


def test_on_the_cpu_the_weights_are_float32_unless_asked_otherwise() -> None:
    assert planned(full(), world()).precision.storage is NumberFormat.FLOAT32
    asked = planned(full(model={"dtype": Dtype.BFLOAT16}), world())
    assert asked.precision.storage is NumberFormat.BFLOAT16
    assert asked.rounding is not None


def test_four_bit_weights_are_not_the_default_and_refused_when_asked() -> None:
    assert not planned(full(), world(hardware=card(16))).precision.load_in_4bit.value
    origins = from_flags(model__load_in_4bit="--load-in-4bit")
    (problem,) = refused(full(model={"load_in_4bit": True}), world(hardware=card(16)), origins)
    assert problem.code == "CONFIG_INVALID_SETTING"
    assert "--load-in-4bit" in problem.message
    assert "--mode full" in problem.message


def test_a_model_that_is_stored_quantized_is_refused() -> None:
    facts = world(hardware=card(16))
    assert isinstance(facts.model, ModelFacts)
    quantized = attrs.evolve(facts, model=attrs.evolve(facts.model, is_quantized=True))
    (problem,) = refused(full(), quantized)
    assert "quantized" in problem.message
    assert isinstance(plan_train(settings(), quantized, origins=Origins()), TrainPlan)


def test_adapter_settings_have_no_effect_and_are_named_with_the_mode() -> None:
    plan = planned(full(lora={"r": 8, "use_dora": True}), world(), from_flags(lora__r="--lora-r"))
    assert [p.message for p in plan.warnings] == [
        "--lora-r has no effect with --mode full.",
        "--use-dora has no effect with --mode full.",
    ]
    checkpointing = planned(full(lora={"use_gradient_checkpointing": True}), world())
    assert checkpointing.warnings == ()
    assert checkpointing.gradient_checkpointing.value


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("full_ft_offload", True, "--full-ft-offload"),
        ("full_ft_ceiling_billions", 9.0, "--full-ft-ceiling-billions"),
    ],
)
def test_settings_of_full_fine_tuning_are_reported_with_an_adapter(name: str, value: object, flag: str) -> None:
    (problem,) = planned(settings(training={name: value}), world()).warnings
    assert problem.message == f"{flag} has no effect with --mode lora."


def test_an_adapter_flag_is_not_looked_at_so_it_cannot_stop_a_full_run() -> None:
    assert planned(full(lora={"target_modules": ("nothing",)}), world()).adapter is None


def test_offload_takes_the_backend_and_the_optimizer_of_the_rail() -> None:
    roomy = attrs.evolve(card(80), ram_available_bytes=200 * GIB, disk_free_bytes=2000 * GIB)
    facts = world(model="Qwen/Qwen2.5-7B-Instruct", hardware=roomy)
    plan = planned(full(training={"full_ft_offload": True}), facts)
    assert plan.offload is not None
    assert plan.offload.backend is CollectiveBackend.NCCL
    assert plan.memory is not None
    # bfloat16 weights, gradients and two states of 7.6 billion parameters, and what pinned memory rounds up.
    assert 8 * 7_615_616_512 < plan.memory.host_bytes < 16 * 7_615_616_512
    assert plan.optimizer.value is Optimizer.ADAMW_TORCH
    assert plan.warnings == ()


def test_offload_beyond_the_host_memory_is_refused() -> None:
    small = attrs.evolve(card(80), ram_available_bytes=16 * GIB, disk_free_bytes=2000 * GIB)
    facts = world(model="Qwen/Qwen2.5-7B-Instruct", hardware=small)
    plan = plan_train(full(training={"full_ft_offload": True}), facts, origins=Origins())
    assert isinstance(plan, Refused)
    assert [p.code for p in plan.problems] == ["RUNTIME_MEMORY_INSUFFICIENT"]
    assert "in host memory" in plan.problems[0].message


def test_offload_on_the_cpu_runs_and_says_that_it_saves_nothing() -> None:
    plan = planned(full(training={"full_ft_offload": True, "backend": Backend.CPU}), world(hardware=card(80)))
    assert plan.offload is not None
    assert plan.offload.backend is CollectiveBackend.GLOO
    assert [p.where for p in plan.warnings] == ["--full-ft-offload"]


def test_offload_on_the_cpu_is_of_use_to_several_processes_which_share_the_weights_by_it() -> None:
    facts = attrs.evolve(world(hardware=card(80)), processes=Processes(count=2, local_count=2))
    plan = planned(full(training={"full_ft_offload": True, "backend": Backend.CPU}), facts)
    assert plan.warnings == ()


def test_offload_is_refused_on_windows() -> None:
    windows = attrs.evolve(card(80), system="Windows")
    (problem,) = refused(full(training={"full_ft_offload": True}), world(hardware=windows))
    assert problem.code == "DEP_FSDP_UNAVAILABLE"
    assert isinstance(plan_train(full(), world(hardware=windows), origins=Origins()), TrainPlan)


def test_an_optimizer_that_cannot_step_host_memory_is_refused_with_offload() -> None:
    asked = {"full_ft_offload": True, "optim": Optimizer.PAGED_ADAMW_8BIT}
    (problem,) = refused(full(training=asked), world(hardware=card(80)))
    assert problem.where == "--optim"
    assert "--full-ft-offload" in problem.message


@pytest.mark.parametrize(
    ("training", "evaluates", "num_checkpoints", "bytes_each"),
    [
        ({"max_steps": 100, "save_steps": 100}, False, 1, 12),
        ({"max_steps": 100, "save_steps": 10}, False, 3, 12),
        ({"max_steps": 100, "save_steps": 10, "keep_checkpoints": 4}, False, 5, 12),
        ({"max_steps": 100, "save_steps": 100, "optim": Optimizer.SGD}, False, 1, 4),
        ({"max_steps": 100, "save_steps": 10}, True, 4, 12),
        ({"max_steps": 100, "save_steps": 100, "eval_every": 100}, True, 2, 12),
    ],
)
def test_checkpoints_that_the_disk_cannot_hold_are_refused(
    training: dict[str, Any], evaluates: bool, num_checkpoints: int, bytes_each: int
) -> None:
    # float32 weights on the CPU: 4 bytes a parameter, and 8 of AdamW's states.
    needed = num_checkpoints * bytes_each * 134_515_008

    def facts(free: int) -> TrainFacts:
        machine = attrs.evolve(CPU_MACHINE, disk_free_bytes=free)
        return world(hardware=machine, heldout=dataset() if evaluates else None)

    # The memory plan's count of the states rounds each tensor up to a block of the allocator.
    rounding = num_checkpoints * 2**20
    assert isinstance(plan_train(full(training=training), facts(needed + rounding), origins=Origins()), TrainPlan)
    (problem,) = refused(full(training=training), facts(needed - 1))
    assert problem.code == "RUNTIME_DISK_FULL"
