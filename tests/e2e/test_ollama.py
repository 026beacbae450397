"""The program and Ollama's server. With OLLAMA_HOST set, what needs no faults runs against the server there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.command import Done, backprop
from tests.gguf_files import write_adapter, write_model
from tests.ollama_double import OllamaDouble, serving

REAL = os.environ.get("OLLAMA_HOST", "")
NAME = "backprop-test-model"


@pytest.fixture
def double() -> Iterator[OllamaDouble]:
    with serving() as running:
        yield running


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """A server to be asked as any: the real one when there is one."""
    if not REAL:
        with serving() as running:
            yield running.host
        return
    yield REAL
    for suffix in ("", ":v1"):
        backprop("ollama", "rm", NAME + suffix, cwd=tmp_path, OLLAMA_HOST=REAL)


def ask(server: OllamaDouble | str, cwd: Path, *arguments: str) -> Done:
    host = server if isinstance(server, str) else server.host
    return backprop("ollama", *arguments, cwd=cwd, OLLAMA_HOST=host)


def code_of(done: Done) -> str:
    return str(done.data["problems"][0]["code"])


def test_a_file_is_registered_listed_and_removed(host: str, tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf")
    done = ask(host, tmp_path, "register", "m.gguf", "--name", NAME, "--json")
    assert done.code == 0, done.stderr
    assert done.data["name"] == f"{NAME}:latest"
    assert done.data["stop"] == ["<|im_end|>"]
    listed = ask(host, tmp_path, "list", "--json")
    assert f"{NAME}:latest" in [model["name"] for model in listed.data["models"]]
    assert NAME in ask(host, tmp_path, "list").stdout
    assert ask(host, tmp_path, "rm", NAME).code == 0
    assert ask(host, tmp_path, "rm", NAME).code == 1


def test_a_second_registration_uploads_nothing_and_replaces(host: str, tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf")
    ask(host, tmp_path, "register", "m.gguf", "--name", NAME)
    done = ask(host, tmp_path, "register", "m.gguf", "--name", NAME.upper(), "--json")
    assert done.code == 0, done.stderr
    assert (done.data["replaced"], done.data["uploaded_bytes"]) == (True, 0)


def test_a_model_that_is_there_is_kept_with_no_overwrite(host: str, tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf")
    assert ask(host, tmp_path, "register", "m.gguf", "--name", NAME, "--no-overwrite").code == 0
    done = ask(host, tmp_path, "register", "m.gguf", "--name", NAME, "--no-overwrite", "--json")
    assert done.code == 1
    assert code_of(done) == "INPUT_VALIDATION_FAILED"


def test_a_directory_with_one_file_has_its_name(double: OllamaDouble, tmp_path: Path) -> None:
    (tmp_path / "my model").mkdir()
    write_model(tmp_path / "my model" / "weights.gguf")
    assert ask(double, tmp_path, "register", "my model").code == 0
    assert list(double.models) == ["my-model:latest"]
    write_model(tmp_path / "my model" / "other.gguf")
    done = ask(double, tmp_path, "register", "my model", "--json")
    assert (done.code, "2 GGUF files" in done.data["problems"][0]["message"]) == (1, True)


def test_what_was_trained_goes_with_the_model(double: OllamaDouble, tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf")
    done = ask(double, tmp_path, "register", "m.gguf")
    (body,) = double.bodies
    assert set(body) == {"model", "files", "template", "parameters", "stream"}
    assert body["parameters"] == {"stop": ["<|im_end|>"]}
    assert str(tmp_path) not in str(body)
    assert "ollama run m" in done.stdout


def test_a_modelfile_of_the_user_s_wins_and_the_training_completes_it(double: OllamaDouble, tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf")
    (tmp_path / "Modelfile").write_text("FROM ./m.gguf\nSYSTEM Be brief.\nPARAMETER num_ctx 4096\n")
    assert ask(double, tmp_path, "register", "m.gguf", "--modelfile", "Modelfile").code == 0
    body = double.bodies[-1]
    assert body["system"] == "Be brief."
    assert body["parameters"] == {"num_ctx": 4096, "stop": ["<|im_end|>"]}
    assert "<|im_start|>" in body["template"]


def test_a_template_of_the_user_s_brings_its_own_stop_tokens(double: OllamaDouble, tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf")
    (tmp_path / "Modelfile").write_text("TEMPLATE {{ .Prompt }}\n")
    assert ask(double, tmp_path, "register", "m.gguf", "--modelfile", "Modelfile").code == 0
    assert double.bodies[-1]["template"] == "{{ .Prompt }}"
    assert "parameters" not in double.bodies[-1]


@pytest.mark.parametrize(
    ("modelfile", "said"),
    [
        ("FROM ./m.gguf\nRUN rm -rf /", "RUN"),
        ("FROM ./missing.gguf", "missing.gguf cannot be used"),
        ("FROM llama3.2", "would not be used"),
        ("ADAPTER ./missing.gguf", "missing.gguf cannot be used"),
        ("ADAPTER ./other.gguf", "one of a qwen2 model"),
    ],
)
def test_a_modelfile_that_cannot_be_meant_changes_nothing(
    double: OllamaDouble, tmp_path: Path, modelfile: str, said: str
) -> None:
    write_model(tmp_path / "m.gguf")
    write_adapter(tmp_path / "other.gguf", architecture="qwen2")
    (tmp_path / "Modelfile").write_text(modelfile)
    done = ask(double, tmp_path, "register", "m.gguf", "--modelfile", "Modelfile", "--json")
    assert (done.code, code_of(done)) == (1, "INPUT_VALIDATION_FAILED")
    assert said in done.data["problems"][0]["message"]
    assert (double.models, double.blobs) == ({}, {})


def test_an_adapter_is_registered_on_a_model_of_the_server(double: OllamaDouble, tmp_path: Path) -> None:
    double.add("base:latest")
    write_adapter(tmp_path / "a.gguf")
    (tmp_path / "Modelfile").write_text("FROM base\n")
    done = ask(double, tmp_path, "register", "a.gguf", "--name", "base:task", "--modelfile", "Modelfile", "--json")
    assert done.code == 0, done.stdout
    assert (done.data["adapter"], done.data["base"]) == (True, "base:latest")
    assert set(double.bodies[-1]) == {"model", "from", "adapters", "stream"}


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ({"architecture": "gemma2"}, "this is a gemma2 model"),
        ({"layers": 0}, "changes layer 0, and the model has 0 layers"),
        ({"adapter": True}, "has an adapter itself"),
        (None, "no model base:latest"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_before_anything_is_uploaded(
    double: OllamaDouble, tmp_path: Path, base: dict[str, object] | None, said: str
) -> None:
    if base is not None:
        double.add("base:latest", **base)  # type: ignore[arg-type]
    before = dict(double.models)
    write_adapter(tmp_path / "a.gguf")
    (tmp_path / "Modelfile").write_text("FROM base\n")
    done = ask(double, tmp_path, "register", "a.gguf", "--modelfile", "Modelfile", "--json")
    assert (done.code, code_of(done)) == (1, "INPUT_VALIDATION_FAILED")
    assert said in done.data["problems"][0]["message"]
    assert (double.models, double.uploads(), double.pulled) == (before, 0, [])


def test_an_adapter_alone_says_what_it_lacks(double: OllamaDouble, tmp_path: Path) -> None:
    write_adapter(tmp_path / "a.gguf")
    done = ask(double, tmp_path, "register", "a.gguf", "--json")
    assert done.code == 1
    assert "--base-model" in done.data["problems"][0]["hint"]


def test_the_shelf_has_the_tags_with_an_adapter_alone(double: OllamaDouble, tmp_path: Path) -> None:
    double.add("llama3.2:latest")
    double.add("llama3.2:1b")
    double.add("llama3.2:taskA", adapter=True)
    double.add("LLAMA3.2:taskB", adapter=True)
    double.add("other:taskC", adapter=True)
    done = ask(double, tmp_path, "shelf", "llama3.2", "--json")
    assert [model["name"] for model in done.data["adapters"]] == ["llama3.2:taskA", "LLAMA3.2:taskB"]
    assert "taskA" in ask(double, tmp_path, "shelf", "llama3.2").stdout
    assert "No adapters on mistral" in ask(double, tmp_path, "shelf", "mistral").stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("list",), "DEP_OLLAMA_UNAVAILABLE"),
        (("rm", "m"), "DEP_OLLAMA_UNAVAILABLE"),
        (("shelf", "m"), "DEP_OLLAMA_UNAVAILABLE"),
        (("register", "m.gguf"), "DEP_OLLAMA_REGISTRATION_FAILED"),
    ],
)
def test_a_server_that_is_down_is_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], code: str) -> None:
    write_model(tmp_path / "m.gguf")
    done = ask("127.0.0.1:9", tmp_path, *arguments, "--json")
    assert (done.code, code_of(done)) == (2, code)
    assert "ollama serve" in done.data["problems"][0]["hint"]


@pytest.mark.parametrize("arguments", [("list",), ("rm", "m"), ("shelf", "m"), ("register", "m.gguf")])
def test_a_server_that_fails_is_exit_code_2(double: OllamaDouble, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    write_model(tmp_path / "m.gguf")
    double.fails = True
    done = ask(double, tmp_path, *arguments, "--json")
    assert done.code == 2
    assert "status 500: something broke" in done.data["problems"][0]["message"]


def test_the_name_of_an_unknown_model_is_told_with_the_nearest(double: OllamaDouble, tmp_path: Path) -> None:
    double.add("my-finetune:latest")
    done = ask(double, tmp_path, "rm", "my-finetun", "--json")
    assert (done.code, code_of(done)) == (1, "INPUT_VALIDATION_FAILED")
    assert "my-finetune:latest" in done.data["problems"][0]["hint"]
    assert ask(double, tmp_path, "rm", "a b").code == 1


@pytest.mark.parametrize("name", ["my model", "m:cloud", "a/b/c/d"])
def test_a_name_that_ollama_refuses_changes_nothing(double: OllamaDouble, tmp_path: Path, name: str) -> None:
    write_model(tmp_path / "m.gguf")
    assert ask(double, tmp_path, "register", "m.gguf", "--name", name).code == 1
    assert double.requests == []


def test_an_error_in_the_middle_of_the_stream_is_an_error(double: OllamaDouble, tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf")
    double.stream_error = "no space left on device"
    done = ask(double, tmp_path, "register", "m.gguf", "--json")
    assert (done.code, code_of(done)) == (2, "DEP_OLLAMA_REGISTRATION_FAILED")
    assert "no space left on device" in done.data["problems"][0]["message"]
    assert double.models == {}


def test_a_stream_that_just_ends_is_an_error(double: OllamaDouble, tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf")
    double.cut_stream = True
    done = ask(double, tmp_path, "register", "m.gguf", "--json")
    assert (done.code, code_of(done)) == (2, "DEP_OLLAMA_REGISTRATION_FAILED")
    again = ask(double, tmp_path, "register", "m.gguf", "--json")
    assert (again.code, again.data["uploaded_bytes"]) == (0, 0)


def test_an_upload_that_is_cut_is_tried_again(double: OllamaDouble, tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf")
    double.cut_uploads = 1
    assert ask(double, tmp_path, "register", "m.gguf").code == 0
    assert double.uploads() == 2


def test_an_upload_whose_answer_is_cut_is_asked_for_again(double: OllamaDouble, tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf")
    double.cut_answers = 1
    done = ask(double, tmp_path, "register", "m.gguf")
    assert done.code == 0, done.stderr
    assert double.uploads() == 1


def test_a_server_that_refuses_an_upload_says_why(double: OllamaDouble, tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf", shapes={"blk.0.attn_q.weight": (2048, 4096)})
    double.refuse_uploads = 507
    done = ask(double, tmp_path, "register", "m.gguf", "--json")
    assert (done.code, code_of(done)) == (2, "DEP_OLLAMA_REGISTRATION_FAILED")
    assert double.models == {}


def test_progress_is_told_while_a_file_is_uploaded(double: OllamaDouble, tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf", shapes={"blk.0.attn_q.weight": (2048, 2048)})
    done = ask(double, tmp_path, "register", "m.gguf")
    assert done.code == 0
    assert "uploading m.gguf: 50 %" in done.stderr
    assert "uploading m.gguf: 100 %" in done.stderr


def test_a_file_that_is_cut_off_is_not_uploaded(double: OllamaDouble, tmp_path: Path) -> None:
    whole = write_model(tmp_path / "m.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(whole[:-100])
    done = ask(double, tmp_path, "register", "m.gguf", "--json")
    assert done.code == 1
    assert "cut off" in done.data["problems"][0]["message"]
    assert (double.uploads(), double.models) == (0, {})


def test_a_variable_that_is_no_address_is_named(tmp_path: Path) -> None:
    done = ask("ftp://x", tmp_path, "list", "--json")
    assert (done.code, code_of(done)) == (1, "CONFIG_INVALID_SETTING")
