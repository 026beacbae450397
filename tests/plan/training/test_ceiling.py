"""How large a model full fine-tuning takes: the table, its override, and what the refusal says."""

from __future__ import annotations

import attrs
import pytest

from backprop.plan.decision import Decision, Refused
from backprop.plan.exit_code import exit_code_for
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainingSettings, TrainMode
from backprop.plan.training.ceiling import check_ceiling, plan_ceiling
from backprop.plan.training.rail import Rail
from tests.plan.training.asking import World, hinted, roomy
from tests.plan.training.worlds import CPU_MACHINE, card, from_flags, world

SEVEN_B = ("--model", "Qwen/Qwen2.5-7B-Instruct", "--mode", "full")


def billions(hardware: HardwareFacts, *, offload: bool = False) -> float:
    settings = TrainingSettings(mode=TrainMode.FULL, full_ft_offload=offload)
    ceiling = plan_ceiling(settings, Rail.CUDA, hardware, origins=Origins())
    assert ceiling is not None
    return ceiling.value


@pytest.mark.parametrize(
    ("vram_gib", "on_card", "with_offload"),
    [(8, 4, 4), (16, 4, 4), (24, 5, 7), (32, 6, 8), (48, 10, 16), (80, 10, 16), (180, 10, 16)],
)
def test_the_ceiling_is_the_tables(vram_gib: float, on_card: float, with_offload: float) -> None:
    assert (billions(card(vram_gib)), billions(card(vram_gib), offload=True)) == (on_card, with_offload)


@pytest.mark.parametrize("nominal", [24, 32, 48])
def test_a_card_up_to_one_and_a_half_gib_below_its_size_counts_as_that_size(nominal: float) -> None:
    whole = billions(card(nominal))
    assert billions(card(nominal - 1.5)) == whole
    assert billions(card(nominal - 1.51)) < whole


@pytest.mark.parametrize("offload", [False, True])
def test_a_card_of_unknown_size_takes_what_the_smallest_takes(offload: bool) -> None:
    assert billions(CPU_MACHINE, offload=offload) == 4


def test_the_users_number_wins_in_both_directions_and_names_its_flag() -> None:
    origins = from_flags(training__full_ft_ceiling_billions="--full-ft-ceiling-billions")
    for number in (0.1, 70.0):
        settings = TrainingSettings(mode=TrainMode.FULL, full_ft_ceiling_billions=number)
        for rail in Rail:
            decided = plan_ceiling(settings, rail, card(24), origins=origins)
            assert decided == Decision(number, "set by --full-ft-ceiling-billions", "You asked for it.")


def test_a_model_of_exactly_the_ceiling_is_taken_and_of_one_parameter_more_is_not() -> None:
    model = world().model
    assert isinstance(model, ModelFacts)
    for over in (0, 1):
        sized = attrs.evolve(model, num_parameters=5_000_000_000 + over)
        settings = TrainingSettings(mode=TrainMode.FULL)
        problem = check_ceiling(settings, sized, Rail.CUDA, card(24), origins=Origins())
        assert (problem is not None) == bool(over)


@pytest.mark.parametrize("hardware", [CPU_MACHINE, card(8), card(24), card(48)])
def test_on_the_cpu_memory_alone_decides_whatever_card_stands_beside_it(hardware: HardwareFacts) -> None:
    on_cpu = (*SEVEN_B, "--backend", "cpu")
    large = attrs.evolve(hardware, ram_total_bytes=1 << 40, ram_available_bytes=1 << 40, disk_free_bytes=None)
    assert World(large).plan(*on_cpu).adapter is None
    refusal = World(attrs.evolve(hardware, disk_free_bytes=None)).refusal(*on_cpu)
    assert refusal.code == "RUNTIME_MEMORY_INSUFFICIENT"
    assert "bound" not in refusal.message
    asked = World(large).refusal(*on_cpu, "--full-ft-ceiling-billions", "4")
    assert asked.code == "RUNTIME_FULL_FT_MODEL_TOO_LARGE"


def test_an_adapter_has_no_ceiling() -> None:
    assert World(card(80)).plan("--model", "meta-llama/Llama-3.1-70B").adapter is not None


def test_a_model_past_the_ceiling_is_refused_with_exit_code_2() -> None:
    problem = World(roomy(24)).refusal(*SEVEN_B)
    assert problem.code == "RUNTIME_FULL_FT_MODEL_TOO_LARGE"
    assert exit_code_for([problem]) == 2


@pytest.mark.parametrize(("vram_gib", "verdict"), [(24, "does not fit"), (32, "does not fit")])
def test_the_refusal_names_the_table_and_what_the_memory_plan_says(vram_gib: float, verdict: str) -> None:
    message = World(card(vram_gib)).refusal(*SEVEN_B).message
    assert "7.6 B parameters" in message
    assert f"at most {billions(card(vram_gib)):g} B" in message
    assert "the table's bound" in message
    assert "memory plan" in message
    assert verdict in message


def test_where_memory_would_do_the_refusal_says_so_and_how_to_raise_the_bound() -> None:
    problem = World(roomy(32)).refusal(*SEVEN_B)
    assert "and fits in the" in problem.message
    assert "--full-ft-ceiling-billions" in problem.hint
    raised = World(roomy(32)).plan(*SEVEN_B, "--full-ft-ceiling-billions", "8")
    assert raised.num_trainable == 7_615_616_512


def test_the_refusal_recommends_an_adapter_or_offload_and_both_are_accepted() -> None:
    there = World(roomy(32))
    flags = [change for change, _ in hinted(there.refusal(*SEVEN_B).hint)]
    assert flags[:2] == ["--mode lora", "--full-ft-offload"]
    for change in flags:
        there.plan(*SEVEN_B, *change.split())


@pytest.mark.parametrize(
    "name",
    ["Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-72B-Instruct", "meta-llama/Llama-3.1-70B", "meta-llama/Llama-3.1-405B"],
)
@pytest.mark.parametrize("vram_gib", [8, 24, 48, 80])
def test_every_refusal_names_an_adapter_or_offload(name: str, vram_gib: float) -> None:
    answer = World(card(vram_gib)).answer("--model", name, "--mode", "full")
    if isinstance(answer, Refused) and answer.problems[0].code == "RUNTIME_FULL_FT_MODEL_TOO_LARGE":
        assert "--mode lora" in answer.problems[0].hint or "--full-ft-offload" in answer.problems[0].hint
    else:
        assert (name, vram_gib) in {("Qwen/Qwen2.5-7B-Instruct", 48), ("Qwen/Qwen2.5-7B-Instruct", 80)}
