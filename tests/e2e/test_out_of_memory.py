"""A run on a card that is too small for it, or too hot: it goes on by itself, and survives being killed on the way."""

from __future__ import annotations

import itertools
import json
import random
import signal
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from backprop.effects.train import session
from backprop.effects.train.trainer import PlannedTrainer
from backprop.plan.training.monitor import Reading
from tests.e2e.command import backprop, leftovers, start

RUN = ("--batch-size", "4", "--grad-accum", "1", "--no-packing", "--logging-steps", "1", "--lora-r", "4")
SHORT = (*RUN, "--steps", "8", "--save-steps", "3", "--eval-split", "0.1", "--eval-every", "2")


def room_for(monkeypatch: pytest.MonkeyPatch, sequences: int, *, from_step: int = 1) -> None:
    """From that step on a pass over more than so many sequences takes more memory than there is."""
    real = PlannedTrainer.training_step

    def training_step(self: PlannedTrainer, model: Any, inputs: Any, *more: Any) -> Any:
        loss = real(self, model, inputs, *more)
        if self.state.global_step + 1 >= from_step and len(inputs["input_ids"]) > sequences:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return loss

    monkeypatch.setattr(PlannedTrainer, "training_step", training_step)


def weights(output: Path) -> bytes:
    return (output / "lora" / "adapter_model.safetensors").read_bytes()


def recoveries(run_id: str, cwd: Path) -> list[tuple[int, int]]:
    """(step, micro-batch) of each."""
    shown = backprop("show-run", run_id, "--json", cwd=cwd).data
    events = [e["event"] for e in shown["events"]]
    return [(e["step"], e["micro_batch"]) for e in events if e["event"] == "Recovered"]


def test_a_run_that_does_not_fit_ends_as_one_that_was_planned_smaller(
    tmp_path: Path, model: str, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ("train", "-m", model, "-d", data, *RUN, "--steps", "4")
    smaller = ("--batch-size", "1", "--grad-accum", "4", "-o", "smaller")
    assert backprop(*train, *smaller, cwd=tmp_path).code == 0
    room_for(monkeypatch, 1)
    done = backprop(*train, cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "out of memory after step 0: going on with 2 sequences in a pass, 2 passes a step" in done.stderr
    assert weights(tmp_path / "output") == weights(tmp_path / "smaller")
    (run,) = backprop("runs", "--json", cwd=tmp_path).data["runs"]
    assert recoveries(run["run_id"], tmp_path) == [(0, 2), (0, 1)]
    shown = backprop("show-run", run["run_id"], cwd=tmp_path).stdout
    assert shown.count("out of memory after step 0") == 2
    (record,) = (tmp_path / "output" / "runs").glob("*/record.json")
    planned = json.loads(record.read_text(encoding="utf-8"))["plan"]["batch"]
    assert planned["micro_batch"]["value"] == 4, "the record keeps what was planned"


@pytest.mark.parametrize("part", range(2))
def test_a_recovered_run_that_is_killed_goes_on_to_the_same_bits(
    tmp_path: Path, model: str, data: str, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    room_for(monkeypatch, 2, from_step=5)
    train = ("train", "-m", model, "-d", data, *SHORT)
    begun = time.monotonic()
    assert backprop(*train, "-o", "whole", cwd=tmp_path).code == 0
    seconds = time.monotonic() - begun
    process = start(*train, cwd=tmp_path)
    time.sleep(seconds * (part + random.random()) / 2)
    process.signal(signal.SIGKILL)
    process.ended()
    runs = backprop("runs", "--json", cwd=tmp_path).data["runs"]
    if not runs or runs[0]["run_status"] == "failed":
        again = ("resume", runs[0]["run_id"]) if runs else train
        assert backprop(*again, cwd=tmp_path).code == 0
    (run,) = backprop("runs", "--json", cwd=tmp_path).data["runs"]
    assert weights(tmp_path / "output") == weights(tmp_path / "whole")
    assert recoveries(run["run_id"], tmp_path) == [(4, 2)]
    shown = backprop("show-run", run["run_id"], "--json", cwd=tmp_path).data
    assert [step for step, _ in shown["losses"]] == list(range(1, 9))
    assert leftovers(tmp_path / "output") == []


def test_a_resumed_run_keeps_the_smaller_passes(
    tmp_path: Path, model: str, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_for(monkeypatch, 2)
    process = start("train", "-m", model, "-d", data, *RUN, "--steps", "400", cwd=tmp_path)
    process.wait_until_it_says("step 3/400")
    process.signal()
    process.ended()
    (run,) = backprop("runs", "--json", cwd=tmp_path).data["runs"]
    dry = backprop("resume", run["run_id"], "--dry-run", "--json", cwd=tmp_path).data
    batch = dry["plan"]["batch"]
    assert (batch["micro_batch"]["value"], batch["accumulation"]["value"]) == (2, 2)
    more = str(run["steps_done"] + 1)
    assert backprop("resume", run["run_id"], "--steps", more, cwd=tmp_path).code == 0
    assert recoveries(run["run_id"], tmp_path) == [(0, 2)]


def test_an_update_that_runs_out_of_memory_leaves_no_loss_twice(
    tmp_path: Path, model: str, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = torch.optim.AdamW.step, itertools.count(1)

    def step(self: torch.optim.AdamW, *arguments: Any, **named: Any) -> Any:
        if next(calls) == 8:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    done = backprop("train", "-m", model, "-d", data, *SHORT, "--json", cwd=tmp_path).data
    assert done["run_status"] == "completed"
    assert recoveries(done["run_id"], tmp_path) == [(6, 2)]
    shown = backprop("show-run", done["run_id"], "--json", cwd=tmp_path).data
    assert [step for step, _ in shown["losses"]] == list(range(1, 9))
    assert [step for step, _ in shown["heldout_losses"]] == [2, 4, 6, 8]


def test_a_run_that_cannot_be_helped_names_what_would_fit(
    tmp_path: Path, model: str, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_for(monkeypatch, 0, from_step=3)
    done = backprop("train", "-m", model, "-d", data, *RUN, "--steps", "8", "--json", cwd=tmp_path)
    assert done.code == 2
    problem = done.data["problems"][0]
    assert problem["code"] == "RUNTIME_OOM_RECOVERY_EXHAUSTED"
    assert "estimate-vram" in problem["hint"]
    assert done.data["steps_done"] == 2, "what was trained is saved"
    assert recoveries(done.data["run_id"], tmp_path) == [(2, 2), (2, 1)]


def test_a_model_that_does_not_fit_exits_with_137(
    tmp_path: Path, model: str, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", too_large)
    done = backprop("train", "-m", model, "-d", data, *RUN, "--steps", "2", "--json", cwd=tmp_path)
    assert done.code == 137
    assert [p["code"] for p in done.data["problems"]] == ["RUNTIME_GPU_OOM"]


def test_a_critically_hot_card_ends_the_run_and_says_how_to_go_on(
    tmp_path: Path, model: str, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class HotCard:
        def read(self) -> Reading:
            return Reading(0.0, 97, 1, 2)

    train = ("train", "-m", model, "-d", data, *RUN, "--steps", "4")
    assert backprop(*train, "-o", "cool", cwd=tmp_path).code == 0
    with monkeypatch.context() as hot:
        hot.setattr(session, "_card", lambda *_: nullcontext(HotCard()))
        done = backprop(*train, "--json", cwd=tmp_path)
    assert done.code == 2
    problem = done.data["problems"][0]
    assert problem["code"] == "RUNTIME_GPU_TEMPERATURE_CRITICAL"
    assert f"backprop resume {done.data['run_id']}" in problem["hint"]
    assert done.data["steps_done"] == 1
    assert backprop("resume", done.data["run_id"], cwd=tmp_path).code == 0
    assert weights(tmp_path / "output") == weights(tmp_path / "cool")
