"""Two processes of the same command, as torchrun starts them: one run, written and told by the first."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.e2e.command import FAST, Done, leftovers, start

STEPS = (*FAST, "--lr", "1e-2", "--save-steps", "2", "--dtype", "float32", "--lora-dropout", "0")


def launch(*arguments: str, cwd: Path) -> tuple[Done, Done]:
    """The program twice, each told its place as torchrun does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    same = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    running = [start(*arguments, cwd=cwd, RANK=str(i), LOCAL_RANK=str(i), **same) for i in range(2)]
    first, second = (one.ended() for one in running)
    return first, second


def test_two_processes_make_one_run_with_the_losses_of_a_single_one(tmp_path: Path, model: str, data: str) -> None:
    asked = ("train", "-m", model, "-d", data, *STEPS, "--steps", "4", "--json")
    first, second = launch(*asked, "-o", "two", cwd=tmp_path)
    assert first.code == 0, first.stderr
    assert second.code == 0, second.stderr
    assert (second.stdout, second.stderr) == ("", ""), "the second process is silent"
    (alone,) = (start(*asked, "-o", "one", cwd=tmp_path).ended().data,)
    assert first.data["plan"]["batch"]["processes"] == 2
    assert [run.name for run in (tmp_path / "two" / "runs").iterdir()] == [first.data["run_id"]]
    assert leftovers(tmp_path / "two") == []
    one, two = (
        [json.loads(line)["loss"] for line in (Path(report["run_dir"]) / "metrics.jsonl").read_text().splitlines()]
        for report in (alone, first.data)
    )
    assert len(one) == 4
    assert two == pytest.approx(one, abs=1e-5)
    resumed, other = launch("resume", first.data["run_id"], "-o", "two", "--steps", "6", "--json", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert other.code == 0, other.stderr
    assert resumed.data["steps_done"] == 6
    refused = start("resume", first.data["run_id"], "-o", "two", "--steps", "8", "--json", cwd=tmp_path).ended()
    assert refused.code == 1
    command = f"torchrun --nproc-per-node 2 --no-python backprop resume {first.data['run_id']} --output two"
    assert command in refused.data["problems"][0]["hint"]


def test_an_update_that_two_processes_cannot_share_is_refused_once(tmp_path: Path, model: str, data: str) -> None:
    asked = ("train", "-m", model, "-d", data, "--batch-size", "1", "--grad-accum", "3", "--no-packing", "--steps", "2")
    first, second = launch(*asked, cwd=tmp_path)
    assert (first.code, second.code) == (1, 1)
    assert "cannot be divided equally among 2 processes" in first.stderr
    assert (second.stdout, second.stderr) == ("", "")
