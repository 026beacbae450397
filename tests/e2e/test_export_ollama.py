"""Adapters on Ollama's shelf, from what training leaves to what is run."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backprop.plan.facts.model_files import TOKENIZER_FILES
from tests.e2e.command import Done, backprop, leftovers
from tests.effects.export.peft_models import make_adapter
from tests.gguf_files import write_model
from tests.gguf_models import make_family_model
from tests.ollama_double import OllamaDouble, serving

WIDTH, INNER = 32, 64
SHAPES = {
    f"blk.{layer}.{name}.weight": shape
    for layer in (0, 1)
    for name, shape in (("attn_q", (WIDTH, WIDTH)), ("ffn_down", (WIDTH, INNER)))
}
"""What the adapter changes, (rows, columns)."""


@pytest.fixture(scope="module")
def adapter(model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An adapter directory as a run leaves it."""
    directory = make_adapter(Path(model), tmp_path_factory.mktemp("adapters") / "task a")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (Path(model) / name).is_file():
            shutil.copyfile(Path(model) / name, directory / name)
    return str(directory)


@pytest.fixture
def double() -> Iterator[OllamaDouble]:
    with serving() as running:
        running.add("base:latest", layers=2)
        yield running


def export(double: OllamaDouble, adapter: str, cwd: Path, *flags: str) -> Done:
    arguments = ("export", adapter, "--format", "ollama-adapter", "-o", "out", *flags)
    return backprop(*arguments, cwd=cwd, OLLAMA_HOST=double.host)


def test_an_adapter_stands_on_its_base_s_shelf(double: OllamaDouble, adapter: str, tmp_path: Path) -> None:
    done = export(double, adapter, tmp_path, "--base-model", "base", "--adapter-tag", "a", "--json")
    assert done.code == 0, done.stdout
    assert done.data["ollama_name"] == "base:a"
    (body,) = double.bodies
    assert body["from"] == "base:latest"
    assert "files" not in body
    assert body["parameters"] == {"stop": ["<|im_end|>"]}
    shelf = backprop("ollama", "shelf", "base", "--json", cwd=tmp_path, OLLAMA_HOST=double.host)
    assert [each["name"] for each in shelf.data["adapters"]] == ["base:a"]


def test_the_tag_is_the_directory_s_name_where_none_is_given(
    double: OllamaDouble, adapter: str, tmp_path: Path
) -> None:
    assert export(double, adapter, tmp_path, "--base-model", "base").code == 0
    assert "base:task-a" in double.models


def test_a_base_in_a_file_is_uploaded_with_the_adapter(double: OllamaDouble, adapter: str, tmp_path: Path) -> None:
    write_model(tmp_path / "my-base.gguf", shapes=SHAPES)
    done = export(double, adapter, tmp_path, "--base-model", "my-base.gguf", "--adapter-tag", "a")
    assert done.code == 0, done.stderr
    (body,) = double.bodies
    assert (body["model"], len(body["files"]), len(body["adapters"])) == ("my-base:a", 1, 1)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "needs the base"),
        (("--base-model", "missing"), "no model missing:latest"),
        (("--base-model", "missing.gguf"), "missing.gguf cannot be used"),
        (("--base-model", "small"), "changes layer 1, and the model has 1 layers"),
        (("--base-model", "other"), "this is a qwen2 model"),
        (("--base-model", "narrow.gguf"), "in the base and"),
        (("--base-model", "base", "--adapter-tag", "a b"), "cannot be the name"),
        (("--base-model", "base", "--adapter-tag", "cloud"), "cannot be the name"),
    ],
)
def test_what_cannot_work_changes_nothing_on_the_server(
    double: OllamaDouble, adapter: str, tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    double.add("small:latest", layers=1)
    double.add("other:latest", architecture="qwen2", layers=2)
    write_model(tmp_path / "narrow.gguf", shapes=dict.fromkeys(SHAPES, (16, 16)))
    before = dict(double.models)
    done = export(double, adapter, tmp_path, *flags, "--json")
    assert (done.code, done.data["problems"][0]["code"]) == (1, "INPUT_VALIDATION_FAILED"), done.stdout
    assert said in done.data["problems"][0]["message"]
    assert (double.models, double.uploads(), double.pulled) == (before, 0, [])
    assert leftovers(tmp_path) == []
    if "--adapter-tag" in flags:
        assert not (tmp_path / "out").exists(), "told before any work"


def test_an_adapter_whose_base_has_moved_is_shelved_with_base(
    double: OllamaDouble, adapter: str, model: str, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(adapter, tmp_path / "moved"))
    config = json.loads((moved / "adapter_config.json").read_text())
    (moved / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(tmp_path / "no")}))
    lost = export(double, str(moved), tmp_path, "--base-model", "base", "--json")
    assert (lost.code, lost.data["problems"][0]["where"]) == (1, "--base")
    found = export(double, str(moved), tmp_path, "--base-model", "base", "--base", model, "--json")
    assert (found.code, found.data["base"], found.data["ollama_name"]) == (0, model, "base:moved")


def test_an_adapter_without_a_tokenizer_speaks_as_its_base_does(
    double: OllamaDouble, model: str, tmp_path: Path
) -> None:
    bare = make_adapter(Path(model), tmp_path / "bare")
    done = export(double, str(bare), tmp_path, "--base-model", "base", "--json")
    assert done.code == 0, done.stdout
    assert "template" not in double.bodies[-1]
    assert [problem["code"] for problem in done.data["problems"]] == ["INPUT_CHAT_TEMPLATE_MISSING"]
    assert "that of base:latest" in done.data["problems"][0]["message"]
    assert [check["name"] for check in done.data["checks"]] == ["metadata and tensors"]


def test_a_tag_beside_a_name_has_no_effect_and_is_told(double: OllamaDouble, adapter: str, tmp_path: Path) -> None:
    flags = ("--base-model", "base", "--adapter-tag", "a", "--ollama-name", "mine", "--json")
    done = export(double, adapter, tmp_path, *flags)
    assert done.data["ollama_name"] == "mine"
    assert [problem["where"] for problem in done.data["problems"]] == ["--adapter-tag"]


def test_an_export_that_ollama_does_not_take_stands_and_is_gone_on_from(
    double: OllamaDouble, tuned: Path, tmp_path: Path
) -> None:
    double.stream_error = "no space left on device"
    arguments = ("export", str(tuned), "-f", "gguf", "-q", "q8_0", "-o", "out", "--ollama", "--no-verify", "--json")
    done = backprop(*arguments, cwd=tmp_path, OLLAMA_HOST=double.host)
    assert (done.code, done.data["problems"][0]["code"]) == (2, "DEP_OLLAMA_REGISTRATION_FAILED")
    assert "The export stands in out." in done.data["problems"][0]["message"]
    double.stream_error = ""
    command = done.data["problems"][0]["hint"].partition("`backprop ollama register")[2].partition("`")[0]
    again = backprop("ollama", "register", *shlex.split(command), "--json", cwd=tmp_path, OLLAMA_HOST=double.host)
    assert (again.code, again.data["name"]) == (0, "out:latest")


def test_a_template_that_ollama_cannot_write_is_told_before_the_export(
    double: OllamaDouble, tuned: Path, tmp_path: Path
) -> None:
    odd = Path(shutil.copytree(tuned, tmp_path / "odd"))
    counting = "{% for m in messages %}{{ loop.index }}{{ m['role'] }}{{ m['content'] }}{% endfor %}"
    (odd / "chat_template.jinja").write_text(counting)
    arguments = ("export", str(odd), "-f", "gguf", "-o", "out", "--ollama", "--json")
    done = backprop(*arguments, cwd=tmp_path, OLLAMA_HOST=double.host)
    assert (done.code, done.data["problems"][0]["code"]) == (1, "INPUT_CHAT_TEMPLATE_INVALID")
    assert not (tmp_path / "out").exists()


def test_a_tag_that_ollama_refuses_is_told_before_the_adapter_is_written(
    double: OllamaDouble, adapter: str, tmp_path: Path
) -> None:
    done = export(double, adapter, tmp_path, "--base-model", "base", "--adapter-tag", "a b", "--json")
    assert (done.code, done.data["problems"][0]["where"]) == (1, "--adapter-tag")
    assert not (tmp_path / "out").exists()


def test_the_tag_of_a_run_s_output_is_the_output_s_name(double: OllamaDouble, adapter: str, tmp_path: Path) -> None:
    shutil.copytree(adapter, tmp_path / "my-run" / "lora")
    for replaced in (False, True):
        done = export(double, "my-run", tmp_path, "--base-model", "base", "--json")
        assert (done.data["ollama_name"], done.data["ollama_replaced"]) == ("base:my-run", replaced), done.stdout


def test_a_base_that_is_a_directory_is_told_of_the_file_in_it(
    double: OllamaDouble, adapter: str, tmp_path: Path
) -> None:
    (tmp_path / "exported").mkdir()
    done = export(double, adapter, tmp_path, "--base-model", "exported", "--json")
    assert (done.code, "GGUF file in the directory" in done.data["problems"][0]["hint"]) == (1, True)


def test_a_daemon_that_is_down_is_told_before_any_work(adapter: str, tmp_path: Path) -> None:
    arguments = ("export", adapter, "--format", "ollama-adapter", "--base-model", "base", "-o", "out", "--json")
    done = backprop(*arguments, cwd=tmp_path, OLLAMA_HOST="127.0.0.1:9")
    assert (done.code, done.data["problems"][0]["code"]) == (2, "DEP_OLLAMA_REGISTRATION_FAILED")
    assert not (tmp_path / "out").exists()


def test_the_adapter_s_file_is_written_without_a_daemon_for_llama_cpp(adapter: str, tmp_path: Path) -> None:
    arguments = ("export", adapter, "--format", "ollama-adapter", "--no-register", "-o", "out", "--json")
    done = backprop(*arguments, cwd=tmp_path, OLLAMA_HOST="127.0.0.1:9")
    assert done.code == 0, done.stdout
    assert done.data["ollama_name"] is None
    assert [check["name"] for check in done.data["checks"]] == ["metadata and tensors"]
    assert (tmp_path / "out" / "out-lora.gguf").read_bytes()[:4] == b"GGUF"


def test_an_adapter_whose_base_is_gone_is_written_by_a_copy_of_it(adapter: str, model: str, tmp_path: Path) -> None:
    homeless = shutil.copytree(adapter, tmp_path / "homeless")
    config = json.loads((homeless / "adapter_config.json").read_text())
    (homeless / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "/nowhere/model"}))
    arguments = ("export", "homeless", "--format", "ollama-adapter", "--no-register", "-o", "out", "--json")
    refused = backprop(*arguments, cwd=tmp_path)
    assert (refused.code, refused.data["problems"][0]["where"]) == (1, "--base")
    done = backprop(*arguments, "--base", model, cwd=tmp_path)
    assert (done.code, done.data["base"]) == (0, model), done.stdout
    assert [problem["where"] for problem in done.data["problems"]] == ["--base"], "the adapter names another"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of a model that llama.cpp loads."""
    directory = tmp_path_factory.mktemp("tuned")
    base = make_family_model(directory / "base", "llama")
    adapter = make_adapter(base, directory / "tuned")
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, adapter / name)
    return adapter


def test_an_adapter_directory_is_merged_quantized_and_registered(
    double: OllamaDouble, tuned: Path, tmp_path: Path
) -> None:
    arguments = ("ollama", "register", str(tuned), "--name", "mine", "--json")
    done = backprop(*arguments, cwd=tmp_path, OLLAMA_HOST=double.host)
    assert done.code == 0, done.stdout
    assert done.data["path"].endswith("tuned-q4_k_m.gguf")
    assert set(double.bodies[-1]) >= {"files", "template", "parameters"}
    assert "mine:latest" in double.models


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        (("--name", "my model"), "--name"),
        (("--name", "taken", "--no-overwrite"), "--no-overwrite"),
        (("--modelfile", "missing"), "--modelfile"),
    ],
)
def test_what_cannot_be_registered_is_told_before_an_adapter_is_exported(
    double: OllamaDouble, tuned: Path, tmp_path: Path, flags: tuple[str, ...], where: str
) -> None:
    double.add("taken:latest")
    mine = Path(shutil.copytree(tuned, tmp_path / "mine", ignore=shutil.ignore_patterns("gguf")))
    done = backprop("ollama", "register", "mine", *flags, "--json", cwd=tmp_path, OLLAMA_HOST=double.host)
    assert (done.code, done.data["problems"][0]["where"]) == (1, where)
    assert not (mine / "gguf").exists()


def test_an_export_is_registered_by_its_own_name(double: OllamaDouble, tuned: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(tuned, tmp_path / "mine", ignore=shutil.ignore_patterns("gguf"))
    assert backprop("export", "mine", "-f", "gguf", "-q", "q8_0", "--no-verify", cwd=tmp_path).code == 0
    done = backprop("ollama", "register", "mine/gguf", "--json", cwd=tmp_path, OLLAMA_HOST=double.host)
    assert (done.code, done.data["name"]) == (0, "mine:latest"), done.stdout
    assert (mine / "gguf" / "mine-q8_0.gguf").is_file()


def test_a_gguf_export_is_registered_on_the_way(double: OllamaDouble, tuned: Path, tmp_path: Path) -> None:
    arguments = ("export", str(tuned), "-f", "gguf", "-q", "q8_0", "-o", "out", "--ollama", "--ollama-name", "mine:q8")
    done = backprop(*arguments, "--json", cwd=tmp_path, OLLAMA_HOST=double.host)
    assert done.code == 0, done.stdout
    assert done.data["ollama_name"] == "mine:q8"
    assert "mine:q8" in double.models


def test_a_name_that_ollama_refuses_is_told_before_the_export(
    double: OllamaDouble, tuned: Path, tmp_path: Path
) -> None:
    arguments = ("export", str(tuned), "-f", "gguf", "-o", "out", "--ollama", "--ollama-name", "my model", "--json")
    done = backprop(*arguments, cwd=tmp_path, OLLAMA_HOST=double.host)
    assert (done.code, done.data["problems"][0]["code"]) == (1, "INPUT_VALIDATION_FAILED")
    assert not (tmp_path / "out").exists()
