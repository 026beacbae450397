"""Trackers are told every step and every evaluation by transformers' own integration."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")

import attrs
from tensorboardX.proto.event_pb2 import Event as TensorBoardEvent

from backprop.plan.settings.training import Tracker
from tests.effects.train.runs import make_plan, make_rows, run

ROWS, HELDOUT = make_rows(20), make_rows(6, seed=1)


def scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) by name, from TensorBoard's files: records of length, checksum, event, checksum."""
    found: dict[str, list[tuple[int, float]]] = {}
    for file in directory.glob("events*"):
        data = file.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            event = TensorBoardEvent.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_gets_every_loss_in_the_run_s_own_directory(model_dir: Path, tmp_path: Path) -> None:
    training = {"max_steps": 4, "logging_steps": 1, "eval_every": 2}
    plan = make_plan(model_dir, ROWS, heldout=HELDOUT, training=training)
    plan = attrs.evolve(plan, trackers=(Tracker.TENSORBOARD,))
    done = run(plan, ROWS, tmp_path, heldout=HELDOUT)
    found = scalars(tmp_path / "tensorboard")
    assert [step for step, _ in found["train/loss"]] == [1, 2, 3, 4]
    assert [loss for _, loss in found["train/loss"]] == pytest.approx(done.losses, abs=1e-6)
    assert [step for step, _ in found["eval/loss"]] == [2, 4]


def test_a_run_that_reports_to_nothing_writes_for_no_tracker(model_dir: Path, tmp_path: Path) -> None:
    run(make_plan(model_dir, ROWS), ROWS, tmp_path)
    assert not (tmp_path / "tensorboard").exists()
