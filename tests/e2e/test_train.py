from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

from tests.e2e.command import FAST, backprop, leftovers

STEPS = (*FAST, "--steps", "4", "--save-steps", "2")


def test_a_run_goes_from_the_data_to_an_adapter_that_answers(tmp_path: Path, model: str, data: str) -> None:
    trained = backprop("train", "-m", model, "-d", data, *STEPS, cwd=tmp_path)
    assert trained.code == 0, trained.stderr
    assert "learning rate" in trained.stdout
    assert "step 4/4  loss" in trained.stderr
    lora = tmp_path / "output" / "lora"
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "chat_template.jinja"} <= {
        path.name for path in lora.iterdir()
    }
    answered = backprop("generate", "output", "What is 3?", "--max-new-tokens", "4", "--json", cwd=tmp_path)
    assert answered.code == 0, answered.stderr
    assert answered.data["completions"][0]["num_tokens"] <= 4
    assert leftovers(tmp_path / "output") == []


def test_the_loss_of_every_run_is_drawn_and_written_down(tmp_path: Path, model: str, data: str) -> None:
    done = backprop("train", "-m", model, "-d", data, *STEPS, "--json", cwd=tmp_path).data
    run_dir = Path(done["run_dir"])
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[-1]["loss"] == done["last_loss"]
    drawing = (run_dir / "loss.svg").read_text(encoding="utf-8")
    assert f"training loss {done['last_loss']:.4f}" in drawing
    assert drawing.endswith("</svg>\n")


def test_warnings_are_told_once_and_before_the_hours_that_they_concern(tmp_path: Path, model: str, data: str) -> None:
    command = ("train", "-m", model, "-d", data, *STEPS, "--fp8", "--orpo-beta", "0.2")
    done = backprop(*command, cwd=tmp_path)
    assert done.code == 0
    for warning in ("[RUNTIME_FP8_UNSUPPORTED] Warning", "--orpo-beta has no effect"):
        assert done.stderr.count(warning) == 1
        assert done.stderr.index(warning) < done.stderr.index("training")
    enveloped = backprop(*command, "--json", cwd=tmp_path)
    assert "Warning" not in enveloped.stderr
    assert {"RUNTIME_FP8_UNSUPPORTED", "CONFIG_INVALID_SETTING"} <= {p["code"] for p in enveloped.data["problems"]}


def test_what_is_printed_by_a_dry_run_is_what_runs(tmp_path: Path, model: str, data: str) -> None:
    dry = backprop("train", "-m", model, "-d", data, *STEPS, "--dry-run", "--json", cwd=tmp_path).data
    assert not (tmp_path / "output").exists()
    ran = backprop("train", "-m", model, "-d", data, *STEPS, "--json", cwd=tmp_path).data
    record = json.loads((Path(ran["run_dir"]) / "record.json").read_text(encoding="utf-8"))
    for plan in (ran["plan"], dry["plan"], record["plan"]):
        plan["budget"].pop("free_bytes")  # of the moment, and no part of what is done
    assert ran["plan"] == dry["plan"]
    assert ran["fingerprint"] == dry["fingerprint"]
    assert record["plan"] == dry["plan"]


def test_a_split_of_a_file_is_told_to_mean_nothing(tmp_path: Path, model: str, data: str) -> None:
    words = ("train", "-m", model, "-d", data, *STEPS, "--dry-run", "--json")
    asked, silent = backprop(*words, "--dataset-split", "test", cwd=tmp_path), backprop(*words, cwd=tmp_path)
    assert [problem["where"] for problem in asked.data["problems"]] == [
        *(problem["where"] for problem in silent.data["problems"]),
        "--dataset-split",
    ]


def test_runs_of_one_directory_never_touch_each_other(tmp_path: Path, model: str, data: str) -> None:
    first = backprop("train", "-m", model, "-d", data, *STEPS, "--json", cwd=tmp_path).data
    weights = (Path(first["adapter"]) / "adapter_model.safetensors").read_bytes()
    second = backprop("train", "-m", model, "-d", data, *STEPS, "--seed", "7", "--json", cwd=tmp_path).data
    assert (Path(first["adapter"]) / "adapter_model.safetensors").read_bytes() == weights
    assert (tmp_path / "output" / "lora").resolve() == Path(second["adapter"]).resolve()
    listed = backprop("runs", "--json", cwd=tmp_path).data["runs"]
    assert [run["run_id"] for run in listed] == [second["run_id"], first["run_id"]]
    shown = backprop("show-run", second["run_id"], "--json", cwd=tmp_path).data
    assert [step for step, _ in shown["losses"]] == [1, 2, 3, 4]


def test_held_out_rows_decide_which_checkpoint_is_handed_over(tmp_path: Path, model: str, data: str) -> None:
    flags = ("--eval-split", "0.2", "--eval-every", "1", "--early-stopping", "1", "--lr", "3", "--steps", "30")
    done = backprop("train", "-m", model, "-d", data, *FAST, *flags, "--save-steps", "1", "--json", cwd=tmp_path).data
    shown = backprop("show-run", done["run_id"], "--json", cwd=tmp_path).data
    losses = dict(map(tuple, shown["heldout_losses"]))
    assert done["best_loss"] == min(losses.values())
    assert losses[done["best_step"]] == done["best_loss"]
    assert done["steps_done"] < 30, "such a rate stops improving at once"
    best = Path(done["run_dir"]) / f"checkpoint-{done['best_step']}" / "adapter_model.safetensors"
    assert (Path(done["adapter"]) / "adapter_model.safetensors").read_bytes() == best.read_bytes()


def test_with_json_logs_stderr_holds_nothing_but_objects(tmp_path: Path, model: str, data: str) -> None:
    done = backprop("train", "-m", model, "-d", data, *STEPS, "--json", "--log-format", "json", cwd=tmp_path)
    assert done.data["status"] == "ok"
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"step", "loss", "learning_rate"} <= {key for line in lines for key in line}


def test_the_masks_that_were_asked_for_are_shown_with_the_plan(tmp_path: Path, model: str, data: str) -> None:
    done = backprop("train", "-m", model, "-d", data, *STEPS, "--dry-run", "--show-mask", "2", cwd=tmp_path)
    assert done.stdout.count("⟦It is") == 2
    assert done.stdout.count("⟧") == 2


def test_a_reader_that_leaves_does_not_stop_the_run(tmp_path: Path, model: str, data: str) -> None:
    words = ["train", "-m", model, "-d", data, *STEPS]
    command = f"{shlex.join([sys.executable, '-m', 'backprop', *words])} 2>&1 | head -n 2"
    subprocess.run(command, shell=True, cwd=tmp_path, check=True, capture_output=True)
    (run,) = backprop("runs", "--json", cwd=tmp_path).data["runs"]
    assert run["run_status"] == "completed"


def test_a_configuration_file_sets_what_no_flag_does(tmp_path: Path, model: str, data: str) -> None:
    (tmp_path / "mine.toml").write_text("[training]\nmax_steps = 7\nseed = 5\n", encoding="utf-8")
    words = ("train", "-m", model, "-d", data, "--config", "mine.toml", "--seed", "6", "--dry-run", "--json")
    plan = backprop(*words, cwd=tmp_path).data["plan"]
    assert plan["length"]["steps"] == {"value": 7, "rule": "set by mine.toml", "why": "You asked for it."}
    assert plan["seed"] == 6
