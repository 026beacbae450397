"""The longest batch goes through the model before the first step, and leaves no trace but what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from backprop.effects.train.first_batch import CudaMemory
from backprop.effects.train.sequences import PlannedOrder, TrainingBatches
from backprop.effects.train.task import PlannedMemory
from backprop.effects.train.trainer import PlannedTrainer
from backprop.plan.events import MemoryChecked, Pass, Recovered
from tests.effects.train.runs import ListRows, make_plan, make_rows, run

ROWS = make_rows(11)


@attrs.define
class CountedMemory:
    """A card whose peak is what was reserved and 1,000 bytes for every pass over the model."""

    held: list[int] = attrs.field(factory=list)
    resets: int = 0

    def reserve(self, num_bytes: int) -> object:
        self.held.append(num_bytes)
        return object()

    def reset_peak(self) -> None:
        self.resets += 1

    def peak(self) -> tuple[int, int]:
        return self.held[-1] + 1000, self.held[-1] + 1500


def passes_over(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, torch.Tensor]]:
    """(finished steps, input ids) of every forward and backward pass from now on."""
    seen: list[tuple[int, torch.Tensor]] = []
    real = PlannedTrainer.training_step

    def training_step(self: PlannedTrainer, model: Any, inputs: Any, *more: Any) -> Any:
        seen.append((self.state.global_step, inputs["input_ids"].clone()))
        return real(self, model, inputs, *more)

    monkeypatch.setattr(PlannedTrainer, "training_step", training_step)
    return seen


@pytest.mark.parametrize("packing", [False, True])
def test_the_longest_batch_is_the_one_with_most_room_padding_included(model_dir: Path, packing: bool) -> None:
    plan = make_plan(model_dir, ROWS, data={"packing": packing}, training={"gradient_accumulation_steps": 1})
    batches = TrainingBatches(plan, ListRows(ROWS))
    areas = [batch["input_ids"].numel() for batch in batches.loader]
    assert batches.longest()["input_ids"].numel() == max(areas)
    assert len(areas) == len(list(PlannedOrder(plan, plan.length.sequences)))


def test_the_rehearsal_changes_no_bit_of_the_run(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"max_steps": 3, "logging_steps": 1, "learning_rate": 1e-2}
    plan = make_plan(model_dir, ROWS, data={"packing": False}, training=changes, lora={"lora_dropout": 0.3})
    alone = run(plan, ROWS, tmp_path / "alone")
    seen = passes_over(monkeypatch)
    rehearsed = run(plan, ROWS, tmp_path / "rehearsed", memory=CountedMemory())
    longest = TrainingBatches(plan, ListRows(ROWS)).longest()["input_ids"]
    assert torch.equal(seen[0][1], longest)
    assert torch.equal(seen[1][1], longest), "with the gradients of one pass in memory, as when they are accumulated"
    assert len(seen) == 2 + 3 * plan.batch.accumulation.value
    assert rehearsed.losses == alone.losses
    for name, tensor in alone.weights(3).items():
        assert torch.equal(tensor, rehearsed.weights(3)[name]), name
    for name in ("optimizer.pt", "rng_state.pth", "scheduler.pt"):
        one, two = ((d.directory / "checkpoint-3" / name).read_bytes() for d in (alone, rehearsed))
        assert one == two, name


def test_what_was_measured_is_told_beside_what_was_planned(model_dir: Path, tmp_path: Path) -> None:
    plan = make_plan(model_dir, ROWS, data={"packing": False}, training={"max_steps": 2})
    memory, planned = CountedMemory(), PlannedMemory(peak_bytes=9000, optimizer_bytes=4000)
    done = run(plan, ROWS, tmp_path / "new", memory=memory, planned_memory=planned)
    longest = max(len(ids) for ids, _ in ROWS)
    told = [e for e in done.events if isinstance(e, MemoryChecked)]
    assert told == [MemoryChecked(9000, 5000, 5500, f"2 × {longest} tokens")]
    assert memory.resets == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA card")
def test_the_cards_memory_is_counted_by_torch() -> None:
    memory = CudaMemory()
    memory.reset_peak()
    before, _ = memory.peak()
    held = memory.reserve(1 << 20)
    handed_out, reserved = memory.peak()
    assert handed_out - before == 1 << 20
    assert reserved >= handed_out
    del held


def test_one_pass_is_enough_when_nothing_is_accumulated(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(model_dir, ROWS, training={"max_steps": 1, "gradient_accumulation_steps": 1})
    seen = passes_over(monkeypatch)
    run(plan, ROWS, tmp_path, memory=CountedMemory())
    assert len(seen) == 2


def test_a_resumed_run_has_its_optimizer_state_already(model_dir: Path, tmp_path: Path) -> None:
    plan = make_plan(model_dir, ROWS, training={"max_steps": 3, "save_steps": 2})
    planned = PlannedMemory(peak_bytes=9000, optimizer_bytes=4000)
    run(plan, ROWS, tmp_path / "whole")
    memory = CountedMemory()
    resume_from = tmp_path / "whole" / "checkpoint-2"
    run(plan, ROWS, tmp_path / "resumed", resume_from=resume_from, memory=memory, planned_memory=planned)
    assert memory.held == [0]


def test_on_the_processor_nothing_is_measured_and_that_is_told(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(model_dir, ROWS, training={"max_steps": 1})
    seen = passes_over(monkeypatch)
    done = run(plan, ROWS, tmp_path)
    (told,) = [e for e in done.events if isinstance(e, MemoryChecked)]
    assert (told.planned_bytes, told.measured_bytes) == (None, None)
    assert "no card" in told.note
    assert len(seen) == plan.batch.accumulation.value


def test_memory_that_runs_out_in_the_rehearsal_makes_the_passes_smaller_before_the_first_step(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(model_dir, ROWS, data={"packing": False}, training={"max_steps": 2})
    real = PlannedTrainer.training_step

    def training_step(self: PlannedTrainer, model: Any, inputs: Any, *more: Any) -> Any:
        if len(inputs["input_ids"]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, model, inputs, *more)

    monkeypatch.setattr(PlannedTrainer, "training_step", training_step)
    done = run(plan, ROWS, tmp_path, memory=CountedMemory())
    kinds = [type(e).__name__ for e in done.events if not isinstance(e, Recovered)]
    assert [e for e in done.events if isinstance(e, Recovered)] == [Recovered(0, 1, Pass.TRAINING, 1, 4, 1)]
    assert kinds.index("MemoryChecked") < kinds.index("Progressed")
    (told,) = [e for e in done.events if isinstance(e, MemoryChecked)]
    assert told.note.startswith("1 × ")
