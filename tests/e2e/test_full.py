from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.e2e.command import backprop, leftovers, start

FULL = ("--mode", "full", "--batch-size", "2", "--grad-accum", "1", "--no-packing", "--logging-steps", "1")
SHORT = (*FULL, "--steps", "8", "--save-steps", "3")


def weights(output: Path) -> bytes:
    return (output / "model" / "model.safetensors").read_bytes()


def test_a_full_run_goes_from_the_data_to_a_model_that_answers(tmp_path: Path, model: str, data: str) -> None:
    trained = backprop("train", "-m", model, "-d", data, *SHORT, cwd=tmp_path)
    assert trained.code == 0, trained.stderr
    assert "every weight is updated" in trained.stdout
    made = tmp_path / "output" / "model"
    assert not (tmp_path / "output" / "lora").exists()
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        assert (made / name).read_bytes() == (Path(model) / name).read_bytes()
    assert json.loads((made / "config.json").read_text()) == json.loads((Path(model) / "config.json").read_text())
    before, after = load_file(Path(model) / "model.safetensors"), load_file(made / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(not bool((before[name] == after[name]).all()) for name in before)
    answered = backprop("generate", "output", "What is 3?", "--max-new-tokens", "4", "--json", cwd=tmp_path)
    assert answered.code == 0, answered.stderr
    assert answered.data["adapter"] is None
    assert leftovers(tmp_path / "output") == []


def test_history_names_the_model(tmp_path: Path, model: str, data: str) -> None:
    done = backprop("train", "-m", model, "-d", data, *SHORT, "--json", cwd=tmp_path).data
    assert (done["adapter"], done["plan"]["mode"], done["plan"]["adapter"]) == (None, "full", None)
    assert Path(done["full_model"]).samefile(tmp_path / "output" / "model")
    shown = backprop("show-run", done["run_id"], "--json", cwd=tmp_path).data
    assert shown["full_model"] == f"runs/{done['run_id']}/model"
    assert shown["events"][-1]["event"]["full_model"] == shown["full_model"]
    assert "full fine-tuning" in backprop("show-run", done["run_id"], cwd=tmp_path).stdout


def test_of_an_adapter_and_a_model_the_one_made_last_answers(tmp_path: Path, model: str, data: str) -> None:
    def answers_from() -> str:
        words = ("generate", "output", "What is 3?", "--max-new-tokens", "2", "--json")
        answered = backprop(*words, cwd=tmp_path).data
        return "model" if answered["adapter"] is None else "adapter"

    for mode in ("lora", "full", "lora"):
        done = backprop("train", "-m", model, "-d", data, *SHORT, "--mode", mode, cwd=tmp_path)
        assert done.code == 0, done.stderr
        assert answers_from() == {"lora": "adapter", "full": "model"}[mode]


@pytest.mark.parametrize("offload", [(), ("--full-ft-offload",)], ids=["plain", "offloaded"])
def test_a_killed_full_run_is_resumed_to_the_same_bits(
    tmp_path: Path, model: str, data: str, offload: tuple[str, ...]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train = ("train", "-m", model, "-d", data, *SHORT, *offload, "--steps", "30")
    assert backprop(*train, "-o", str(whole), cwd=tmp_path).code == 0
    process = start(*train, "-o", str(killed), cwd=tmp_path)
    process.wait_until_it_says("checkpoint of step 3 saved")
    process.signal(signal.SIGKILL)
    process.ended()
    (run,) = backprop("runs", "-o", str(killed), "--json", cwd=tmp_path).data["runs"]
    resumed = backprop("resume", run["run_id"], "-o", str(killed), "--json", cwd=tmp_path)
    assert resumed.data["run_status"] == "completed", resumed.stderr
    assert weights(killed) == weights(whole)
    assert leftovers(killed) == []


def test_a_finished_full_run_is_extended(tmp_path: Path, model: str, data: str) -> None:
    first = backprop("train", "-m", model, "-d", data, *SHORT, "--json", cwd=tmp_path).data
    before = weights(tmp_path / "output")
    more = backprop("resume", first["run_id"], "--steps", "10", "--json", cwd=tmp_path).data
    assert (more["steps_done"], more["num_steps"]) == (10, 10)
    assert weights(tmp_path / "output") != before


def test_an_adapter_setting_in_full_mode_is_a_warning(tmp_path: Path, model: str, data: str) -> None:
    dry = backprop("train", "-m", model, "-d", data, *SHORT, "--lora-r", "4", "--dry-run", "--json", cwd=tmp_path)
    assert dry.code == 0
    (problem,) = dry.data["problems"]
    assert problem["message"] == "--lora-r has no effect with --mode full."


def test_a_dora_adapter_is_trained_and_answers(tmp_path: Path, model: str, data: str) -> None:
    flags = (*SHORT, "--mode", "lora", "--use-dora", "--lora-r", "4")
    done = backprop("train", "-m", model, "-d", data, *flags, cwd=tmp_path)
    assert done.code == 0, done.stderr
    config = json.loads((tmp_path / "output" / "lora" / "adapter_config.json").read_text())
    assert config["use_dora"]
    answered = backprop("generate", "output", "What is 3?", "--max-new-tokens", "4", "--json", cwd=tmp_path)
    assert answered.code == 0, answered.stderr
