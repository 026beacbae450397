"""Several processes keep the update that one would make, or the run is refused."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop.effects.probe.processes import observe_processes
from backprop.plan.decision import Refused
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.processes import SINGLE, Processes
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.lora import AdapterInit
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainMode
from backprop.plan.training.order import micro_batches, updates
from backprop.plan.training.parallel import on_fullest_card
from backprop.plan.training.plan import TrainPlan, plan_train
from tests.plan.training.worlds import GIB, card, settings, world


def answer(processes: Processes, *, hardware: HardwareFacts | None = None, **training: Any) -> TrainPlan | Refused:
    facts = attrs.evolve(world(hardware=hardware) if hardware else world(), processes=processes)
    return plan_train(settings(training=training, data={"packing": False}), facts, origins=Origins())


def cards(*free_gib: float) -> HardwareFacts:
    one = card(24).gpus[0]
    return attrs.evolve(card(24), gpus=tuple(attrs.evolve(one, vram_free_bytes=int(free * GIB)) for free in free_gib))


@given(st.integers(1, 8), st.integers(1, 8), st.integers(2, 8), st.integers(0, 3))
def test_all_processes_together_see_the_rows_of_one_in_equally_many_passes(
    size: int, passes: int, count: int, seed: int
) -> None:
    asked: dict[str, Any] = {
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": passes,
        "max_steps": 3,
        "seed": seed,
    }
    shared, alone = answer(Processes(count, local_count=count), **asked), answer(SINGLE, **asked)
    assert isinstance(alone, TrainPlan)
    if size * passes % count:
        assert isinstance(shared, Refused)
        return
    assert isinstance(shared, TrainPlan)
    assert shared.batch.effective == alone.batch.effective
    assert shared.batch.micro_batch.value <= alone.batch.micro_batch.value
    assert shared.length.steps == alone.length.steps
    for one, whole in zip(updates(shared, 100), updates(alone, 100), strict=True):
        parts = [list(micro_batches(one, shared.batch, rank=rank)) for rank in range(count)]
        assert [number for part in parts for batch in part for number in batch] == whole
        assert {len(part) for part in parts} == {shared.batch.accumulation.value}


@pytest.mark.parametrize(
    ("processes", "hardware", "training", "words"),
    [
        (Processes(3, local_count=3), None, {}, "cannot be divided equally among 3"),
        (Processes(4, local_count=2), None, {}, "several machines"),
        (Processes(2, local_count=2), card(24), {}, "there are 1 cards"),
        (Processes(2, local_count=2), cards(20, 20), {"mode": TrainMode.FULL, "full_ft_offload": True}, "offload"),
    ],
)
def test_processes_that_cannot_train_together_are_refused(
    processes: Processes, hardware: HardwareFacts | None, training: dict[str, Any], words: str
) -> None:
    refused = answer(processes, hardware=hardware, **{"per_device_train_batch_size": 2, **training})
    assert isinstance(refused, Refused)
    (problem,) = (p for p in refused.problems if words in p.message)
    assert (problem.code, problem.where) == ("CONFIG_INVALID_SETTING", "WORLD_SIZE")


@pytest.mark.parametrize(
    ("groups", "flag"),
    [
        ({"training": {"method": Objective.ORPO}}, "--method orpo"),
        ({"training": {"fp8": True}}, "--fp8"),
        ({"lora": {"init_lora_weights": AdapterInit.PISSA}}, "--init-lora-weights pissa"),
    ],
)
def test_what_one_process_alone_does_is_refused_of_several_and_not_of_one(
    groups: dict[str, dict[str, Any]], flag: str
) -> None:
    alone = attrs.evolve(world(hardware=cards(20, 20)))
    several = attrs.evolve(alone, processes=Processes(2, local_count=2))
    assert isinstance(plan_train(settings(**groups), alone, origins=Origins()), TrainPlan)
    refused = plan_train(settings(**groups), several, origins=Origins())
    assert isinstance(refused, Refused)
    assert [p.where for p in refused.problems if p.message.startswith(f"{flag} has not been run")] == ["WORLD_SIZE"]


def test_memory_is_planned_for_the_card_that_has_least() -> None:
    two = cards(20, 3, 1)
    gpu = on_fullest_card(two, 2).gpu
    assert gpu is not None
    assert gpu.vram_free_bytes == 3 * GIB, "the third card is not used"
    assert on_fullest_card(two, 1) == two


def test_two_cards_are_expected_to_take_half_the_time() -> None:
    named = attrs.evolve(cards(20, 20), gpus=(attrs.evolve(cards(20).gpus[0], name="NVIDIA A100-SXM4-80GB"),) * 2)
    both, one = answer(Processes(2, local_count=2), hardware=named), answer(SINGLE, hardware=named)
    assert isinstance(both, TrainPlan)
    assert isinstance(one, TrainPlan)
    longest, of_two = one.throughput.seconds(100), both.throughput.seconds(100)
    assert longest is not None
    assert of_two == pytest.approx([seconds / 2 for seconds in longest])


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, SINGLE),
        ({"WORLD_SIZE": "2"}, SINGLE),
        ({"WORLD_SIZE": "two", "RANK": "1"}, SINGLE),
        ({"WORLD_SIZE": "2", "RANK": "2"}, SINGLE),
        ({"WORLD_SIZE": "1", "RANK": "0"}, SINGLE),
        ({"WORLD_SIZE": "2", "RANK": "1"}, Processes(2, 1, 1, 2)),
        (
            {"WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"},
            Processes(8, 5, 1, 4),
        ),
    ],
)
def test_what_a_launcher_says_is_observed(environ: dict[str, str], expected: Processes) -> None:
    assert observe_processes(environ) == expected
