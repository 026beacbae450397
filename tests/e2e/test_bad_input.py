"""What goes wrong before a run begins: a catalogued error, the next step, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.command import Done, backprop
from tests.hub_double import GATED, serving

ROW = json.dumps({"messages": [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "One."}]})


def refused(done: Done, directory: Path, *, code: str, exit_code: int, hint: str = "") -> None:
    """The run was refused with this code among its problems, a hint, and no trace on the screen or on the disk."""
    assert done.code == exit_code, done.stdout + done.stderr
    assert done.stderr == "" or "Traceback" not in done.stderr
    found = [problem for problem in done.data["problems"] if problem["code"] == code]
    assert found, done.stdout
    assert found[0]["hint"]
    assert hint in found[0]["hint"] + found[0]["message"], found[0]
    assert not (directory / "output").exists()


BAD_DATA = {
    "missing": (None, "INPUT_DATASET_NOT_FOUND", ""),
    "empty": (b"", "INPUT_DATASET_INVALID", ""),
    "binary": (bytes(range(256)) * 8, "INPUT_DATASET_INVALID", "is not text"),
    "broken line": (f"{ROW}\n{ROW}\n{{oops\n{ROW}\n".encode(), "INPUT_DATASET_PARSE_FAILED", "rows.jsonl:3"),
    "Latin-1": ((ROW + "\n").encode() + b'{"text": "caf\xe9"}\n', "INPUT_DATASET_PARSE_FAILED", "rows.jsonl"),
    "UTF-16": (ROW.encode("utf-16"), "INPUT_DATASET_INVALID", "UTF-16"),
    "unknown layout": (b'{"alpha": 1, "beta": 2}\n', "INPUT_DATASET_FORMAT_UNSUPPORTED", "alpha"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_data_that_cannot_be_used_is_refused(tmp_path: Path, model: str, name: str) -> None:
    content, code, words = BAD_DATA[name]
    if content is not None:
        (tmp_path / "rows.jsonl").write_bytes(content)
    done = backprop("train", "-m", model, "-d", "rows.jsonl", "--json", cwd=tmp_path)
    refused(done, tmp_path, code=code, exit_code=1)
    assert words in done.stdout


def test_a_misspelt_suffix_is_answered_with_the_file_beside_it_and_no_hub_is_asked(tmp_path: Path, model: str) -> None:
    (tmp_path / "rows.jsonl").write_text(ROW, encoding="utf-8")
    done = backprop("train", "-m", model, "-d", "rows.jsnl", "--json", cwd=tmp_path)
    refused(done, tmp_path, code="INPUT_DATASET_NOT_FOUND", exit_code=1)
    assert "rows.jsonl?" in done.stdout


def test_a_directory_is_not_data(tmp_path: Path, model: str) -> None:
    (tmp_path / "rows.jsonl").mkdir()
    done = backprop("train", "-m", model, "-d", "rows.jsonl", "--json", cwd=tmp_path)
    refused(done, tmp_path, code="INPUT_DATASET_INVALID", exit_code=1, hint="file inside it")


def test_a_misspelt_model_is_not_found_and_an_unreachable_hub_is_another_thing(tmp_path: Path, data: str) -> None:
    path = backprop("train", "-m", "./no/model", "-d", data, "--json", cwd=tmp_path)
    refused(path, tmp_path, code="INPUT_MODEL_NOT_FOUND", exit_code=1)
    unreachable = backprop("train", "-m", "ann/small", "-d", data, "--json", cwd=tmp_path)
    refused(unreachable, tmp_path, code="HUB_UNREACHABLE", exit_code=69)


def test_a_hub_that_refuses_is_told_apart_from_one_that_does_not_know_the_model(tmp_path: Path, data: str) -> None:
    with serving() as hub:
        hub.add("ann/gated", {"config.json": "{}"})
        hub.refusals["/api/models/ann/gated"] = GATED
        hub.refusals["/ann/gated"] = GATED
        unknown = backprop("train", "-m", "ann/none", "-d", data, "--json", cwd=tmp_path, HF_ENDPOINT=hub.url)
        refused(unknown, tmp_path, code="INPUT_MODEL_NOT_FOUND", exit_code=1)
        gated = backprop("train", "-m", "ann/gated", "-d", data, "--json", cwd=tmp_path, HF_ENDPOINT=hub.url)
        refused(gated, tmp_path, code="INPUT_AUTH_REQUIRED", exit_code=1, hint="HF_TOKEN")


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_model_directory_that_lacks_a_part_is_refused(tmp_path: Path, model: str, data: str, missing: str) -> None:
    directory = tmp_path / "model"
    shutil.copytree(model, directory)
    (directory / missing).unlink()
    done = backprop("train", "-m", "model", "-d", data, "--json", cwd=tmp_path)
    assert done.code == 1 or done.code == 2
    assert missing.split(".")[0] in done.stdout
    assert not (tmp_path / "output").exists()


def test_a_tokenizer_without_a_chat_template_is_told_what_to_pass(tmp_path: Path, model: str, data: str) -> None:
    directory = tmp_path / "model"
    shutil.copytree(model, directory)
    (directory / "chat_template.jinja").unlink()
    done = backprop("train", "-m", "model", "-d", data, "--json", cwd=tmp_path)
    refused(done, tmp_path, code="INPUT_CHAT_TEMPLATE_MISSING", exit_code=1, hint="--chat-template")
    dry = backprop("train", "-m", "model", "-d", data, "--chat-template", "chatml", "--dry-run", "--json", cwd=tmp_path)
    assert dry.code == 0, dry.stdout


BAD_FLAGS = {
    "--steps 0": "whole number of at least 1",
    "--lr nan": "a number above 0",
    "--lora-preset qualty": "quality",
    "--optim adamw_tork": "adamw_torch",
    "--lora-dropout 1.5": "below 1",
    "--backend tpu": "cuda",
    "--batch-size many": "auto",
    "--target-modules q_prj": "q_proj",
}


@pytest.mark.parametrize("flags", BAD_FLAGS)
def test_a_bad_value_names_itself_and_what_could_stand_there(tmp_path: Path, model: str, data: str, flags: str) -> None:
    done = backprop("train", "-m", model, "-d", data, *flags.split(), "--json", cwd=tmp_path)
    refused(done, tmp_path, code="CONFIG_INVALID_SETTING", exit_code=1)
    assert flags.split()[1] in done.stdout
    assert BAD_FLAGS[flags] in done.stdout


def test_a_misspelt_variable_is_a_warning_with_the_right_name(tmp_path: Path, model: str, data: str) -> None:
    arguments = ("train", "-m", model, "-d", data, "--dry-run", "--json")
    done = backprop(*arguments, cwd=tmp_path, BACKPROPAGATE_TRAINING__MAX_STEP="3")
    assert done.code == 0
    assert any("BACKPROPAGATE_TRAINING__MAX_STEPS" in problem["hint"] for problem in done.data["problems"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_that_may_not_be_written_is_refused(tmp_path: Path, model: str, data: str) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    done = backprop("train", "-m", model, "-d", data, "-o", "locked/output", "--steps", "1", "--json", cwd=tmp_path)
    refused(done, tmp_path, code="INPUT_PATH_UNUSABLE", exit_code=77)


def test_an_output_that_is_a_file_is_refused(tmp_path: Path, model: str, data: str) -> None:
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    done = backprop("train", "-m", model, "-d", data, "-o", "taken", "--steps", "1", "--json", cwd=tmp_path)
    refused(done, tmp_path, code="INPUT_PATH_UNUSABLE", exit_code=77)
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"
