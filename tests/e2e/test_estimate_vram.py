"""``backprop estimate-vram`` as a user runs it: nothing is loaded, nothing is downloaded, nothing is written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.command import backprop

TIERS = [(48, 8), (32, 6), (24, 4), (16, 2), (0, 1)]


def test_the_envelope_has_the_fields_of_the_contract(tmp_path: Path) -> None:
    done = backprop("estimate-vram", "--vram-gb", "24", "--json", cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "")
    found = done.data
    assert (found["schema_version"], found["command"], found["status"]) == (1, "estimate-vram", "ok")
    assert (found["exit_code"], found["problems"]) == (0, [])
    assert [(tier["vram_gb"], tier["batch_size"]) for tier in found["tiers"]] == TIERS
    assert found["recommended_batch_size"] == 4
    assert found["model"] == "Qwen/Qwen2.5-7B-Instruct"
    assert (found["unit"], found["vram_gb"], found["fits"]) == ("GiB", 24.0, True)
    assert sum(term["bytes"] for term in found["memory"]["terms"]) == found["peak_bytes"]
    assert found["peak_bytes"] < found["reserved_bytes"] < found["needed_bytes"] < 24 * 2**30
    assert (found["run"]["method"], found["run"]["optimizer"]) == ("sft", "adamw_torch_fused")
    assert {term["id"] for term in found["terms"]} >= {"frozen_weights", "activations"}
    assert {way["name"] for way in found["ways"]} == {"qlora", "lora", "full", "full-offload"}


def test_the_answer_is_piped_into_a_json_parser(tmp_path: Path) -> None:
    program = f'"{sys.executable}" -m backprop estimate-vram --vram-gb 16 --json'
    reader = f'"{sys.executable}" -c "import json, sys; print(json.load(sys.stdin)[\'recommended_batch_size\'])"'
    piped = subprocess.run(
        ["sh", "-c", f"{program} | {reader}"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert (piped.stdout, piped.stderr) == ("2\n", "")


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m backprop estimate-vram --vram-gb 24 | head -n 1'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("Qwen/Qwen2.5-7B-Instruct (the default, for none was named): 7.6 B parameters")
    assert done.stderr == ""


@pytest.mark.parametrize("size", ["0", "-1", "513", "512.1", "many", "nan", "inf"])
def test_a_card_of_an_impossible_size_is_refused(tmp_path: Path, size: str) -> None:
    done = backprop("estimate-vram", "--vram-gb", size, "--json", cwd=tmp_path)
    assert (done.code, done.data["exit_code"]) == (1, 1)
    (problem,) = done.data["problems"]
    assert problem["code"] == "CONFIG_INVALID_SETTING"
    assert f'"{size}"' in problem["message"]
    assert "above 0 and of at most 512" in problem["message"]


@pytest.mark.parametrize("size", ["512", "0.001"])
def test_the_ends_of_the_range_are_taken(tmp_path: Path, size: str) -> None:
    done = backprop("estimate-vram", "Qwen/Qwen2.5-0.5B", "--vram-gb", size, "--json", cwd=tmp_path)
    assert done.code == 0
    assert done.data["fits"] is (size == "512")


def test_an_unknown_model_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    done = backprop("estimate-vram", "Qwen/Qwen2.5-7B-Instrct", "--vram-gb", "24", "--json", cwd=tmp_path)
    (problem,) = done.data["problems"]
    assert done.code == 69
    assert problem["code"] == "HUB_UNREACHABLE"
    assert "Did you mean Qwen/Qwen2.5-7B-Instruct?" in problem["message"] + problem["hint"]
    path = backprop("estimate-vram", "./no/model", "--json", cwd=tmp_path)
    assert (path.code, path.data["problems"][0]["code"]) == (1, "INPUT_MODEL_NOT_FOUND")


def test_a_model_in_a_directory_is_estimated_by_its_own_shape(tmp_path: Path, model: str) -> None:
    done = backprop("estimate-vram", model, "--vram-gb", "8", "--json", cwd=tmp_path).data
    config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    assert done["num_parameters"] < 10_000_000
    assert done["sequence_length"] == min(2048, config["max_position_embeddings"])
    assert done["largest_sequence"] <= config["max_position_embeddings"]


def test_a_model_that_does_not_fit_is_an_answer_and_no_error(tmp_path: Path) -> None:
    done = backprop("estimate-vram", "meta-llama/Llama-3.1-70B", "--vram-gb", "24", cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "")
    assert "It does not fit: it needs " in done.stdout


def test_nothing_is_written(tmp_path: Path) -> None:
    backprop("estimate-vram", "--vram-gb", "24", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name not in (".logs", "home")] == []


def test_help_names_the_model_the_card_and_the_shape_of_a_run(tmp_path: Path) -> None:
    done = backprop("estimate-vram", "-h", cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "")
    for word in ("MODEL", "--vram-gb", "--json", "--mode", "--lora-r", "--batch-size", "--max-seq-length", "--method"):
        assert word in done.stdout


def test_a_variable_or_a_file_shapes_the_run_as_a_flag_does(tmp_path: Path) -> None:
    asked = ("estimate-vram", "--vram-gb", "24", "--ram-gb", "64", "--json")
    flag = backprop(*asked, "--lora-r", "8", cwd=tmp_path).data
    variable = backprop(*asked, cwd=tmp_path, BACKPROPAGATE_LORA__R="8").data
    (tmp_path / "backprop.toml").write_text("[lora]\nr = 8\n", encoding="utf-8")
    file = backprop(*asked, cwd=tmp_path).data
    assert flag == variable == file


def test_a_variable_or_a_file_names_the_model_as_train_takes_it(tmp_path: Path) -> None:
    asked = ("estimate-vram", "--vram-gb", "24", "--json")
    named = backprop(*asked, cwd=tmp_path, BACKPROPAGATE_MODEL__NAME="Qwen/Qwen2.5-0.5B").data
    assert (named["model"], named["model_from"]) == ("Qwen/Qwen2.5-0.5B", "BACKPROPAGATE_MODEL__NAME")
    (tmp_path / "backprop.toml").write_text('[model]\nname = "Qwen/Qwen2.5-3B"\n', encoding="utf-8")
    named = backprop(*asked, cwd=tmp_path).data
    assert (named["model"], named["model_from"]) == ("Qwen/Qwen2.5-3B", "backprop.toml")
    named = backprop(*asked, "--model", "Qwen/Qwen2.5-1.5B", cwd=tmp_path).data
    assert (named["model"], named["model_from"]) == ("Qwen/Qwen2.5-1.5B", "--model")


def test_a_remedy_can_be_added_to_the_command_that_it_answers(tmp_path: Path) -> None:
    asked = ("estimate-vram", "--vram-gb", "16", "-m", "Qwen/Qwen2.5-14B-Instruct", "--json")
    first = backprop(*asked, cwd=tmp_path).data
    assert first["fits"] is False
    for remedy in first["remedies"]:
        second = backprop(*asked, *remedy["flags"].split(), cwd=tmp_path).data
        assert (second["fits"], second["needed_bytes"]) == (True, remedy["needed_bytes"])


def test_a_directory_with_a_configuration_alone_is_enough(tmp_path: Path, model: str) -> None:
    (tmp_path / "shape").mkdir()
    shutil.copy(Path(model) / "config.json", tmp_path / "shape")
    whole, bare = (backprop("estimate-vram", d, "--vram-gb", "8", "--json", cwd=tmp_path) for d in (model, "shape/"))
    assert (bare.code, bare.data["needed_bytes"]) == (0, whole.data["needed_bytes"])
    (tmp_path / "shape" / "config.json").write_text("{", encoding="utf-8")
    broken = backprop("estimate-vram", "shape", "--vram-gb", "8", "--json", cwd=tmp_path)
    (problem,) = broken.data["problems"]
    assert (broken.code, problem["code"], problem["retryable"]) == (1, "INPUT_MODEL_INVALID", False)
    assert problem["where"] == "MODEL"


def test_the_models_that_are_known_offline_are_listed(tmp_path: Path) -> None:
    listed = backprop("info", "--models", "--json", cwd=tmp_path).data["models"]
    assert {"name": "Qwen/Qwen2.5-7B-Instruct", "num_parameters": 7615616512} in listed
    unknown = backprop("estimate-vram", "nobody/has-this", "--json", cwd=tmp_path).data["problems"][0]
    assert "backprop info --models" in unknown["hint"]


def test_what_is_not_predicted_is_a_warning_and_no_error(tmp_path: Path, model: str) -> None:
    config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "mixture").mkdir()
    mixture = {**config, "model_type": "deepseek_v3", "n_routed_experts": 8, "moe_intermediate_size": 64}
    (tmp_path / "mixture" / "config.json").write_text(json.dumps(mixture), encoding="utf-8")
    done = backprop("estimate-vram", "mixture", "--vram-gb", "24", "--json", cwd=tmp_path)
    assert (done.code, done.data["fits"], done.data["ways"][0]["fits"]) == (0, None, None)
    assert [(p["code"], p["severity"]) for p in done.data["problems"]] == [("RUNTIME_MEMORY_UNKNOWN", "warning")]
