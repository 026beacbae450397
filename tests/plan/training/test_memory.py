"""Which memory a run trains in, and which training its prediction is about."""

from __future__ import annotations

import attrs
import pytest

from backprop.plan.facts.model import FourBit, ModelFacts
from backprop.plan.memory.plan import MemoryPlan, Term
from backprop.plan.memory.term import TermName
from backprop.plan.training.arguments import own_optimizer_arguments
from backprop.plan.training.memory import PROCESS_BYTES, MemoryBudget, budget_of
from backprop.plan.training.plan import TrainPlan, plan_train
from backprop.plan.training.rail import Rail
from tests.plan.training.asking import World, asked, roomy
from tests.plan.training.worlds import CPU_MACHINE, GIB, card

MIB = 2**20
MODEL = ("--model", "Qwen/Qwen2.5-1.5B", "--batch-size", "2", "--gradient-checkpointing", "--no-packing")
ADAMW = ("adamw_torch", "adamw_torch_fused")
WEIGHTS = 1_543_714_304
"""Qwen2.5-1.5B's parameters, as its model card counts them: 1.54 B."""


def term(plan: TrainPlan, name: TermName) -> int:
    assert plan.memory is not None
    return plan.memory.bytes_of(name)


def test_the_budget_is_the_primary_cards_or_the_machines() -> None:
    machine = attrs.evolve(card(24), gpus=(*card(24).gpus, *card(80).gpus))
    assert budget_of(Rail.CUDA, machine) == MemoryBudget("card", 24 * GIB, 24 * GIB, host_free_bytes=15 * GIB)
    assert budget_of(Rail.CPU, machine) == MemoryBudget("this machine", 16 * GIB, 15 * GIB)


def test_nobody_knows_the_budget_without_a_card_or_where_the_machine_is_silent() -> None:
    assert budget_of(Rail.CUDA, CPU_MACHINE) is None
    assert budget_of(Rail.CPU, attrs.evolve(CPU_MACHINE, ram_available_bytes=None)) is None
    assert budget_of(Rail.CPU, attrs.evolve(CPU_MACHINE, ram_total_bytes=None)) is None


def test_a_budget_holds_what_is_needed_and_not_only_the_peak() -> None:
    memory = MemoryPlan((Term(TermName.FROZEN_WEIGHTS, 10_000),), "loss", context_bytes=500, reserve_share=0.1)
    assert not MemoryBudget("card", 20_000, 11_499).holds(memory)
    assert MemoryBudget("card", 20_000, 11_500).holds(memory)


@pytest.mark.parametrize(("host_free", "holds"), [(None, True), (1000, True), (999, False)])
def test_what_is_offloaded_has_to_fit_the_host_where_its_memory_is_known(host_free: int | None, holds: bool) -> None:
    memory = MemoryPlan((), "loss", host_bytes=1000, context_bytes=0)
    assert MemoryBudget("card", 10, 10, host_free).holds(memory) is holds


@pytest.mark.parametrize(("start", "bytes_each"), [("default", 0), ("pissa", 4), ("loftq", 8)])
def test_the_factors_that_an_adapter_began_with_stay_in_host_memory(start: str, bytes_each: int) -> None:
    flags = (*MODEL, "--init-lora-weights", start)
    on_card, on_cpu = World(roomy(24)).plan(*flags), World(roomy(24)).plan(*flags, "--backend", "cpu")
    assert on_card.memory is not None
    assert on_cpu.memory is not None
    assert on_card.adapter is not None
    first = bytes_each * on_card.adapter.num_parameters
    assert on_card.memory.host_bytes == first
    assert on_cpu.memory.context_bytes == PROCESS_BYTES + first


@pytest.mark.parametrize(("capability", "bytes_each"), [((8, 9), 2), ((7, 5), 4)])
def test_adapters_over_4_bits_are_float32_where_the_loss_is_scaled(
    capability: tuple[int, int], bytes_each: int
) -> None:
    plan = World(attrs.evolve(card(16, capability), ram_available_bytes=64 * GIB)).plan(*MODEL, "--lora-r", "64")
    assert plan.precision.scales_loss is (bytes_each == 4)
    assert plan.adapter is not None
    assert term(plan, TermName.TRAINABLE_WEIGHTS) == bytes_each * plan.adapter.num_parameters


@pytest.mark.parametrize(
    ("flags", "bytes_each"), [((), 0.5), (("--no-load-in-4bit",), 2.0), (("--no-load-in-4bit", "--use-dora"), 2.0)]
)
def test_frozen_weights_are_held_as_the_plan_says(flags: tuple[str, ...], bytes_each: float) -> None:
    """NF4 takes half a byte, its blocks' maxima stand elsewhere; embeddings stay at two bytes."""
    plan = World(roomy(24)).plan(*MODEL, *flags)
    embeddings = 151936 * 1536
    expected = bytes_each * (WEIGHTS - embeddings) + 2 * embeddings
    assert term(plan, TermName.FROZEN_WEIGHTS) == pytest.approx(expected, rel=0.01)


def quantized(*flags: str, four_bit: FourBit | None, model: str = "Qwen/Qwen2.5-7B-Instruct") -> TrainPlan:
    """The plan for a repository that comes quantized."""
    run = asked("--model", model, *flags)
    facts = World(roomy(24), ((2048, 100),)).facts(run.settings)
    assert isinstance(facts.model, ModelFacts)
    stored = attrs.evolve(facts.model, is_quantized=True, four_bit=four_bit)
    plan = plan_train(run.settings, attrs.evolve(facts, model=stored), origins=run.origins)
    assert isinstance(plan, TrainPlan)
    return plan


@pytest.mark.parametrize("flags", [(), ("--use-dora",)], ids=str)
def test_weights_that_come_in_four_bits_take_what_those_take_that_are_brought_there(flags: tuple[str, ...]) -> None:
    there = World(roomy(24), ((2048, 100),))
    loaded = there.plan("--model", "Qwen/Qwen2.5-7B-Instruct", "--load-in-4bit", *flags)
    assert quantized(*flags, four_bit=FourBit.DOUBLE).memory == loaded.memory
    plain = quantized(*flags, four_bit=FourBit.PLAIN)
    numel = 28 * sum(layer.in_features * layer.out_features for layer in plain.model.linear_layers)
    more = term(plain, TermName.QUANTIZATION_STATE) - term(loaded, TermName.QUANTIZATION_STATE)
    assert more == pytest.approx(numel / 64 * 3, rel=0.01)  # four bytes for each block's maximum, not one


def test_weights_in_other_quantized_formats_are_not_predicted_and_the_plan_says_so() -> None:
    plan = quantized(four_bit=None)
    assert plan.memory is None
    (problem,) = [p for p in plan.warnings if p.code == "RUNTIME_MEMORY_UNKNOWN"]
    assert "stored in a format" in problem.message


def test_full_fine_tuning_has_no_frozen_weights_and_trains_all() -> None:
    plan = World(roomy(24)).plan(*MODEL, "--mode", "full")
    assert term(plan, TermName.FROZEN_WEIGHTS) == 0
    assert term(plan, TermName.TRAINABLE_WEIGHTS) == pytest.approx(2 * WEIGHTS, rel=1e-3)
    assert term(plan, TermName.OPTIMIZER) == pytest.approx(4 * WEIGHTS, rel=1e-3)
    held = World(roomy(24)).plan(*MODEL, "--mode", "full", "--dtype", "float32")
    assert term(held, TermName.TRAINABLE_WEIGHTS) == 2 * term(plan, TermName.TRAINABLE_WEIGHTS)


@pytest.mark.parametrize(
    ("flags", "is_ours"),
    [((), True), (("--dtype", "float32"), False), (("--dtype", "float32", "--full-ft-offload"), True)],
    ids=str,
)
def test_the_optimizer_that_is_counted_is_the_one_that_runs(flags: tuple[str, ...], is_ours: bool) -> None:
    """torch's steps on all tensors at once or in one kernel; ours in slices, under either name."""
    plans = [World(roomy(80)).plan(*MODEL, "--mode", "full", "--optim", optim, *flags) for optim in ADAMW]
    assert [own_optimizer_arguments(plan) is not None for plan in plans] == [is_ours, is_ours]
    assert (plans[0].memory == plans[1].memory) is is_ours


def test_adapters_are_fp32_over_whole_weights_and_bf16_over_four_bits() -> None:
    whole, four_bit = (World(roomy(24)).plan(*MODEL, flag) for flag in ("--no-load-in-4bit", "--load-in-4bit"))
    assert whole.adapter is not None
    assert term(whole, TermName.TRAINABLE_WEIGHTS) == 4 * whole.adapter.num_parameters
    assert term(four_bit, TermName.TRAINABLE_WEIGHTS) == 2 * whole.adapter.num_parameters


@pytest.mark.parametrize(("capability", "mib"), [((8, 9), 2 * 8.125), ((9, 0), 64), ((12, 0), 64)])
def test_cublas_takes_its_workspace_by_capability(capability: tuple[int, int], mib: float) -> None:
    plan = World(card(24, capability)).plan(*MODEL)
    assert term(plan, TermName.WORKSPACE) == int(mib * MIB)


def test_the_cpu_has_no_workspace() -> None:
    assert term(World(CPU_MACHINE).plan("--model", "Qwen/Qwen2.5-0.5B"), TermName.WORKSPACE) == 0


def test_what_the_adapters_input_drops_costs_memory() -> None:
    dropping, keeping = (World(roomy(24)).plan(*MODEL, "--lora-dropout", share) for share in ("0.1", "0"))
    assert dropping.memory is not None
    assert keeping.memory is not None
    assert dropping.memory.peak_bytes > keeping.memory.peak_bytes


def test_gradients_stay_between_passes_only_where_there_are_several() -> None:
    one, several = (World(roomy(24)).plan(*MODEL, "--mode", "full", "--grad-accum", count) for count in ("1", "2"))
    assert several.memory is not None
    assert one.memory is not None
    assert several.memory.peak_bytes >= one.memory.peak_bytes
    assert term(several, TermName.GRADIENTS) == pytest.approx(2 * WEIGHTS, rel=1e-3)


def test_packed_rows_need_a_mask_that_rows_of_one_do_not() -> None:
    def peak(*flags: str) -> int:
        memory = World(roomy(24), ((2048, 100),)).plan(*MODEL[:2], "--batch-size", "1", *flags).memory
        assert memory is not None
        return memory.peak_bytes

    assert peak("--packing") - peak("--no-packing") >= 2048 * 2048


def test_plans_that_differ_in_free_memory_alone_are_equal() -> None:
    tight = attrs.evolve(card(24), ram_available_bytes=14 * GIB)
    assert World(card(24)).plan(*MODEL) == World(tight).plan(*MODEL)
