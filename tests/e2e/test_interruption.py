from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from backprop.effects.store.history import HistoryStore
from tests.e2e.command import FAST, Done, Running, backprop, leftovers, start
from tests.tiny import CHATML

LONG = (*FAST, "--steps", "400", "--save-steps", "150")
UNREPORTED = ("--logging-steps", "400")
SHORT = (*FAST, "--steps", "10", "--save-steps", "3", "--eval-split", "0.1", "--eval-every", "2")


def weights(output: Path) -> bytes:
    return (output / "lora" / "adapter_model.safetensors").read_bytes()


def test_an_interrupt_saves_and_says_how_to_go_on(tmp_path: Path, model: str, data: str) -> None:
    process = start("train", "-m", model, "-d", data, *LONG, cwd=tmp_path)
    process.wait_until_it_says("step 3/400")
    process.signal()
    done = process.ended()
    assert done.code == 130
    (run,) = backprop("runs", "--json", cwd=tmp_path).data["runs"]
    assert f"backprop resume {run['run_id']}" in done.stderr
    assert run["run_status"] == "interrupted"
    assert f"backprop resume {run['run_id']}" in backprop("runs", cwd=tmp_path).stdout
    unfinished = backprop("generate", "output", "Hello", cwd=tmp_path)
    assert unfinished.code == 1
    assert f"backprop resume {run['run_id']}" in unfinished.stderr
    assert run["steps_done"] >= 3
    resumed = backprop("resume", run["run_id"], "--steps", str(run["steps_done"] + 2), "--json", cwd=tmp_path).data
    assert resumed["run_status"] == "completed"
    assert resumed["steps_done"] == run["steps_done"] + 2


def test_the_losses_since_the_last_report_outlive_an_interrupt(tmp_path: Path, model: str, data: str) -> None:
    process = start("train", "-m", model, "-d", data, *LONG, *UNREPORTED, "--save-steps", "3", cwd=tmp_path)
    process.wait_until_it_says("checkpoint of step 3 saved")
    process.signal()
    process.ended()
    (run,) = backprop("runs", "--json", cwd=tmp_path).data["runs"]
    (losses,) = backprop("show-run", run["run_id"], "--json", cwd=tmp_path).data["losses"]
    assert losses == [run["steps_done"], run["last_loss"]]


def test_a_second_interrupt_stops_at_once(tmp_path: Path, model: str, data: str) -> None:
    process = start("train", "-m", model, "-d", data, *LONG, "--grad-accum", "500", cwd=tmp_path)
    process.wait_until_it_says("training")
    process.signal()
    process.wait_until_it_says("once more stops at once")
    process.signal()
    begun = time.monotonic()
    assert process.ended().code == 130
    assert time.monotonic() - begun < 3
    (run,) = backprop("runs", "--json", cwd=tmp_path).data["runs"]
    assert run["run_status"] == "interrupted"
    assert leftovers(tmp_path / "output") == []


def test_a_run_that_is_continued_in_pieces_ends_where_the_whole_one_does(tmp_path: Path, model: str, data: str) -> None:
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    assert backprop("train", "-m", model, "-d", data, *SHORT, "-o", str(whole), cwd=tmp_path).code == 0
    process = start("train", "-m", model, "-d", data, *SHORT, "-o", str(pieces), cwd=tmp_path)
    process.wait_until_it_says("step 4/10")
    process.signal()
    process.ended()
    (run,) = backprop("runs", "-o", str(pieces), "--json", cwd=tmp_path).data["runs"]
    resumed = backprop("train", "--resume", run["run_id"], "-o", str(pieces), "--json", cwd=tmp_path)
    assert resumed.data["run_status"] == "completed", resumed.stderr
    assert weights(pieces) == weights(whole)


def test_a_finished_run_is_extended(tmp_path: Path, model: str, data: str) -> None:
    first = backprop("train", "-m", model, "-d", data, *FAST, "--steps", "3", "--json", cwd=tmp_path).data
    refused = backprop("resume", first["run_id"], "--json", cwd=tmp_path)
    assert refused.code == 1
    assert refused.data["problems"][0]["code"] == "INPUT_RESUME_NOT_FOUND"
    more = backprop("resume", first["run_id"], "--steps", "6", "--json", cwd=tmp_path).data
    assert (more["steps_done"], more["num_steps"]) == (6, 6)
    shown = backprop("show-run", first["run_id"], "--json", cwd=tmp_path).data
    assert [step for step, _ in shown["losses"]] == [1, 2, 3, 4, 5, 6]


def test_changed_data_is_not_resumed(tmp_path: Path, model: str, data: str) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(Path(data).read_bytes())
    first = backprop("train", "-m", model, "-d", "rows.jsonl", *FAST, "--steps", "2", "--json", cwd=tmp_path).data
    rows.write_bytes(b"".join(Path(data).read_bytes().splitlines(keepends=True)[:-1]))
    refused = backprop("resume", first["run_id"], "--steps", "4", "--json", cwd=tmp_path)
    assert refused.code == 1
    assert refused.data["problems"][0]["code"] == "STATE_INPUTS_CHANGED"


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, model: str, data: str) -> tuple[bytes, float]:
    """The adapter of a run that nothing disturbed, and the seconds that it took."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    begun = time.monotonic()
    done = backprop("train", "-m", model, "-d", data, *SHORT, cwd=directory)
    assert done.code == 0, done.stderr
    return weights(directory / "output"), time.monotonic() - begun


def killed_and_resumed(process: Running, delay: float, directory: Path, again: tuple[str, ...]) -> Done:
    """kill -9 after ``delay`` seconds; then go on, or begin if nothing had begun."""
    time.sleep(delay)
    process.signal(signal.SIGKILL)
    process.ended()
    listed = backprop("runs", "--json", cwd=directory)
    assert listed.code == 0
    assert [p for p in listed.data["problems"] if p["severity"] == "error"] == []
    runs = listed.data["runs"]
    if not runs:
        return backprop(*again, cwd=directory)
    if runs[0]["run_status"] == "completed":
        return listed
    return backprop("resume", runs[0]["run_id"], cwd=directory)


def check_kill(moment: float, directory: Path, model: str, data: str, uninterrupted: tuple[bytes, float]) -> None:
    """A run killed at ``moment`` of its course (0 to 1) and resumed is the run that was not."""
    adapter, seconds = uninterrupted
    train = ("train", "-m", model, "-d", data, *SHORT)
    done = killed_and_resumed(start(*train, cwd=directory), moment * seconds, directory, train)
    assert done.code == 0, done.stderr
    output = directory / "output"
    assert weights(output) == adapter
    assert leftovers(output) == []
    (run,) = backprop("runs", "--json", cwd=directory).data["runs"]
    assert run["run_status"] == "completed"
    shown = backprop("show-run", run["run_id"], "--json", cwd=directory).data
    assert [step for step, _ in shown["losses"]] == list(range(1, 11))
    assert [step for step, _ in shown["heldout_losses"]] == [2, 4, 6, 8, 10]


@pytest.mark.parametrize("part", range(3))
def test_a_killed_run_is_resumed_to_the_same_bits(
    tmp_path: Path, model: str, data: str, uninterrupted: tuple[bytes, float], part: int
) -> None:
    moment = (part + random.random()) / 3
    check_kill(moment, tmp_path, model, data, uninterrupted)


def test_a_run_killed_before_its_adapter_is_published_is_not_yet_complete(
    tmp_path: Path, model: str, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(HistoryStore, "publish", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        killed = backprop("train", "-m", model, "-d", data, *FAST, "--steps", "2", cwd=tmp_path)
    assert killed.code == -signal.SIGKILL
    (run,) = backprop("runs", "--json", cwd=tmp_path).data["runs"]
    assert run["run_status"] == "failed"
    assert backprop("resume", run["run_id"], cwd=tmp_path).code == 0
    assert weights(tmp_path / "output")


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
def test_twenty_killed_runs_are_resumed_to_the_same_bits(
    tmp_path: Path, model: str, data: str, uninterrupted: tuple[bytes, float], part: int
) -> None:
    moment = (part + random.random()) / 20
    check_kill(moment, tmp_path, model, data, uninterrupted)


def test_a_run_is_continued_from_another_directory(tmp_path: Path, model: str, data: str) -> None:
    (tmp_path / "mine.jinja").write_text(CHATML, encoding="utf-8")
    (tmp_path / "held.jsonl").write_bytes(b"".join(Path(data).read_bytes().splitlines(keepends=True)[:4]))
    files = ("--chat-template", "mine.jinja", "--eval-split", "held.jsonl")
    first = backprop("train", "-m", model, "-d", data, *FAST, *files, "--steps", "2", "--json", cwd=tmp_path).data
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    output = ("-o", str(tmp_path / "output"), "--json")
    more = ("train", "--resume", first["run_id"], "--steps", "4", "--lr", "1")
    dry = backprop(*more, "--dry-run", *output, cwd=elsewhere)
    assert dry.data["plan"]["length"]["steps"]["value"] == 4, dry.stdout
    assert backprop("show-run", first["run_id"], *output, cwd=elsewhere).data["steps_done"] == 2
    done = backprop(*more, *output, cwd=elsewhere).data
    assert done["steps_done"] == 4
    assert "--lr" in done["problems"][0]["message"]


def test_a_killed_run_shows_the_steps_that_are_saved_and_how_to_go_on(tmp_path: Path, model: str, data: str) -> None:
    output = ("-o", "my runs")
    process = start(
        "train", "-m", model, "-d", data, *FAST, *output, "--steps", "400", "--save-steps", "2", cwd=tmp_path
    )
    process.wait_until_it_says("checkpoint of step 2 saved")
    process.signal(signal.SIGKILL)
    process.ended()
    (run,) = backprop("runs", *output, "--json", cwd=tmp_path).data["runs"]
    assert run["steps_done"] >= 2
    shown = backprop("show-run", run["run_id"], *output, cwd=tmp_path).stdout
    assert f"backprop resume {run['run_id']} --output 'my runs'" in shown
    dry = backprop("resume", run["run_id"], *output, "--dry-run", cwd=tmp_path).stdout
    assert "It goes on after step" in dry
