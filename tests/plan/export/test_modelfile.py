"""Modelfiles: read as Ollama reads them, refused where it would be silent."""

from __future__ import annotations

import pytest

from backprop.plan.decision import Refused
from backprop.plan.export.modelfile import Modelfile, create_body, names_a_file, parse_modelfile
from tests.modelfile_text import modelfile_text

WHOLE = '''
# A comment
FROM ./model.gguf
adapter lora.gguf
TEMPLATE """{{ range .Messages }}
# no comment
{{ .Content }}"""
SYSTEM "Be
brief."
PARAMETER temperature 0.5
PARAMETER stop "<|im_end|>"
parameter STOP two words
PARAMETER num_ctx 4096
PARAMETER use_mmap false
MESSAGE user What is it?
MESSAGE assistant """It is
that."""
LICENSE MIT
'''


def parsed(text: str) -> Modelfile:
    found = parse_modelfile(text, name="Modelfile")
    assert isinstance(found, Modelfile), found
    return found


def refusals(text: str) -> list[str]:
    found = parse_modelfile(text, name="Modelfile")
    assert isinstance(found, Refused), found
    assert {problem.code for problem in found.problems} == {"INPUT_VALIDATION_FAILED"}
    return [problem.message for problem in found.problems]


def test_every_instruction_is_read() -> None:
    assert parsed(WHOLE) == Modelfile(
        source="./model.gguf",
        adapters=("lora.gguf",),
        template="{{ range .Messages }}\n# no comment\n{{ .Content }}",
        system="Be\nbrief.",
        licenses=("MIT",),
        parameters=(
            ("temperature", 0.5),
            ("stop", ("<|im_end|>", "two words")),
            ("num_ctx", 4096),
            ("use_mmap", False),
        ),
        messages=(("user", "What is it?"), ("assistant", "It is\nthat.")),
    )


def test_there_are_no_escapes() -> None:
    assert parsed(r'SYSTEM "a\nb"').system == r"a\nb"
    assert parsed(r"SYSTEM a\"b").system == r"a\"b"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RUN ls", "Modelfile:1: the instruction RUN cannot be used"),
        ("FROM a\nFORM b", "Modelfile:2: the instruction FORM cannot be used; did you mean FROM"),
        ("FROM a\nFROM b", "Modelfile:2: FROM stands more than once"),
        ("FROM", "Modelfile:1: FROM names nothing"),
        ("PARAMETER temprature 1", "there is no parameter temprature; did you mean temperature"),
        ("PARAMETER num_ctx many", "num_ctx takes a whole number, not 'many'"),
        ("PARAMETER top_p nan", "top_p takes a number, not 'nan'"),
        ("PARAMETER use_mmap perhaps", "use_mmap takes true or false, not 'perhaps'"),
        ("MESSAGE robot Hello", "MESSAGE is said by one of system, user, assistant, not by 'robot'"),
        ("ADAPTER ./lora", "ADAPTER takes a .gguf file, not './lora'"),
        ("ADAPTER a.gguf\nADAPTER b.gguf", "ADAPTER stands more than once"),
        ('SYSTEM """never\nclosed', "Modelfile:1: a quote is opened and never closed"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line(text: str, said: str) -> None:
    (message,) = refusals(text)
    assert said in message


def test_everything_that_is_wrong_is_told_at_once() -> None:
    assert len(refusals("RUN a\nPARAMETER x 1\nMESSAGE y z")) == 3


@pytest.mark.parametrize("name", ["./m.gguf", "/a/b", "~/m", "m.gguf", "../x", "M.GGUF"])
def test_a_path_is_not_taken_for_a_model_s_name(name: str) -> None:
    assert names_a_file(name)
    assert not names_a_file("llama3.2:1b")
    assert not names_a_file("ann/model")


def test_the_interface_is_given_fields_and_digests_and_no_path() -> None:
    body = create_body(
        parsed(WHOLE), name="m:v1", files={"model.gguf": "sha256:1"}, adapters={"adapter.gguf": "sha256:2"}
    )
    assert body == {
        "model": "m:v1",
        "files": {"model.gguf": "sha256:1"},
        "adapters": {"adapter.gguf": "sha256:2"},
        "template": "{{ range .Messages }}\n# no comment\n{{ .Content }}",
        "system": "Be\nbrief.",
        "license": ["MIT"],
        "parameters": {
            "temperature": 0.5,
            "stop": ["<|im_end|>", "two words"],
            "num_ctx": 4096,
            "use_mmap": False,
        },
        "messages": [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "It is\nthat."}],
        "stream": True,
    }


def test_what_is_not_said_is_left_to_ollama() -> None:
    assert create_body(Modelfile(), name="m", from_model="b") == {"model": "m", "from": "b", "stream": True}


def test_a_written_modelfile_reads_back() -> None:
    assert parsed(modelfile_text(parsed(WHOLE))) == parsed(WHOLE)
