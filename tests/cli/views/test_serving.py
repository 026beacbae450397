"""What the commands for Ollama and the Hub tell a person."""

from __future__ import annotations

import attrs

from backprop.cli.style import Style
from backprop.cli.views import ollama_list, ollama_register, ollama_rm, ollama_shelf, push
from backprop.plan.export.ollama_models import (
    OllamaListReport,
    OllamaModel,
    OllamaRegisterReport,
    OllamaRmReport,
    OllamaShelfReport,
)
from backprop.plan.export.push import Kind, PushReport

HOST = "http://127.0.0.1:11434"
MODEL = OllamaModel("mine:latest", 1_500_000_000, "2026-11-26T03:00:00Z", "abc", "llama", "Q4_K_M")
REGISTERED = OllamaRegisterReport(
    host=HOST,
    name="mine:latest",
    path="out/m.gguf",
    base=None,
    adapter=False,
    replaced=False,
    uploaded_bytes=0,
    stop=("<|im_end|>",),
    template="{{ .Prompt }}",
)
PUSHED = PushReport(
    repo="ann/mine",
    url="https://hub/ann/mine",
    commit="c0ffee" + "0" * 34,
    revision="main",
    kind=Kind.ADAPTER,
    private=False,
    files=("README.md",),
    left_out=tuple(f"checkpoint-{i}/" for i in range(10)),
    num_bytes=1000,
)


def test_models_are_listed_with_their_size() -> None:
    text = ollama_list.show(OllamaListReport(HOST, (MODEL,)), Style())
    assert "mine:latest" in text
    assert "1.5 GB" in text
    assert ollama_list.show(OllamaListReport(HOST, ()), Style()) == f"Ollama at {HOST} has no models."


def test_a_name_of_the_server_s_cannot_move_the_cursor() -> None:
    evil = attrs.evolve(MODEL, name="a\x1b[2Jb")
    assert "\x1b" not in ollama_list.show(OllamaListReport(HOST, (evil,)), Style())
    assert "\x1b" not in ollama_shelf.show(OllamaShelfReport(HOST, "a", (evil,)), Style())


def test_what_was_registered_says_how_to_talk_to_it() -> None:
    text = ollama_register.show(REGISTERED, Style())
    assert text.startswith("Registered mine:latest from out/m.gguf.")
    assert "nothing had to be uploaded; answers end at <|im_end|>" in text
    assert text.endswith("ollama run mine")
    again = attrs.evolve(REGISTERED, replaced=True, adapter=True, base="base:latest", uploaded_bytes=5_000_000)
    assert "Replaced mine:latest, an adapter on base:latest" in ollama_register.show(again, Style())
    assert "5.0 MB uploaded" in ollama_register.show(again, Style())


def test_what_was_removed_is_named() -> None:
    assert ollama_rm.show(OllamaRmReport(HOST, "mine:latest"), Style()) == "Removed mine:latest."


def test_what_was_pushed_says_where_and_what_stayed() -> None:
    text = push.show(PUSHED, Style())
    assert "https://hub/ann/mine" in text
    assert "commit c0ffee000000 on main" in text
    assert "checkpoint-7/ and 2 more" in text
