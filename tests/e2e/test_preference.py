"""Preference training as a user runs it: the plan, the run, a kill in the middle, and what refuses to begin."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.e2e.command import FAST, backprop, start

STEPS = ("--steps", "8", "--save-steps", "3", "--eval-split", "0.2", "--eval-every", "2")
SMALL = tuple(flag for flag in FAST if flag != "--no-packing")


def write_answers(path: Path, *, rated: bool) -> Path:
    """Questions with a good and a bad answer each."""
    rows: list[dict[str, object]] = []
    for i in range(24):
        good, bad = f"It is {i * i}.", "No idea" + "!" * (i % 5 + 1)
        if rated:
            rows += [{"prompt": f"{i}?", "completion": good, "label": True}]
            rows += [{"prompt": f"{i}?", "completion": bad, "label": False}]
        else:
            rows.append({"prompt": f"{i}?", "chosen": good, "rejected": bad})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def weights(output: Path) -> bytes:
    return (output / "lora" / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("method", ["orpo", "simpo", "kto"])
def test_a_run_that_is_killed_and_resumed_ends_where_the_whole_one_does(
    method: str, tmp_path: Path, model: str
) -> None:
    data = write_answers(tmp_path / "answers.jsonl", rated=method == "kto")
    words = ("train", "-m", model, "-d", str(data), "--method", method, *SMALL, *STEPS)
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    done = backprop(*words, "-o", str(whole), cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "margin" in done.stderr
    process = start(*words, "-o", str(pieces), cwd=tmp_path)
    process.wait_until_it_says("step 4/8")
    process.signal(signal.SIGKILL)
    process.ended()
    (run,) = backprop("runs", "-o", str(pieces), "--json", cwd=tmp_path).data["runs"]
    resumed = backprop("resume", run["run_id"], "-o", str(pieces), "--json", cwd=tmp_path)
    assert resumed.data["run_status"] == "completed", resumed.stderr
    assert weights(pieces) == weights(whole)
    events = [json.loads(line) for line in (Path(resumed.data["run_dir"]) / "events.jsonl").read_text().splitlines()]
    told = [event["rewards"] for event in events if event.get("rewards")]
    assert len(told) == 8 + 4, "every step, and every evaluation"
    assert all(0 <= rewards["accuracy"] <= 1 for rewards in told)


def test_a_dry_run_shows_the_method_with_what_decides_it(tmp_path: Path, model: str) -> None:
    data = write_answers(tmp_path / "answers.jsonl", rated=False)
    words = ("train", "-m", model, "-d", str(data), "--method", "simpo", "--simpo-gamma", "3", "--lr", "1e-4")
    shown = backprop(*words, "--dry-run", cwd=tmp_path)
    assert shown.code == 0, shown.stderr
    assert "arXiv:2405.14734" in shown.stdout
    assert "clamp of simpo" in shown.stdout
    assert "pairs a step" in shown.stdout
    assert "gamma / beta is 1.5" in shown.stdout + shown.stderr
    plan = backprop(*words, "--dry-run", "--json", cwd=tmp_path).data["plan"]
    assert plan["objective"]["gamma"]["value"] == 3
    assert plan["learning_rate"]["peak"]["value"] == 1e-6


def test_rows_of_another_method_and_every_weight_are_refused(tmp_path: Path, model: str, data: str) -> None:
    wrong_rows = backprop("train", "-m", model, "-d", data, "--method", "kto", "--json", cwd=tmp_path)
    assert wrong_rows.code == 1
    assert wrong_rows.data["problems"][0]["code"] == "INPUT_DATASET_FORMAT_UNSUPPORTED"
    pairs = str(write_answers(tmp_path / "answers.jsonl", rated=False))
    full = backprop("train", "-m", model, "-d", pairs, "--method", "orpo", "--mode", "full", "--json", cwd=tmp_path)
    assert full.code == 1
    assert "trains an adapter" in full.data["problems"][0]["message"]
