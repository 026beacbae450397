"""The names that Ollama takes, and the shelf of adapters that is made of them."""

from __future__ import annotations

import pytest

from backprop.plan.decision import Problem
from backprop.plan.export.ollama_name import OllamaName, is_on_shelf, parse_name, part_from, shelf_name


def named(text: str) -> OllamaName:
    name = parse_name(text)
    assert isinstance(name, OllamaName), name
    return name


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("llama3.2", "llama3.2:latest"),
        ("llama3.2:1b", "llama3.2:1b"),
        ("ann/my-model", "ann/my-model:latest"),
        ("hub.example.com/ann/m:v1.0", "hub.example.com/ann/m:v1.0"),
        ("localhost:5000/ann/m", "localhost:5000/ann/m:latest"),
        ("_x", "_x:latest"),
        ("a" * 80, "a" * 80 + ":latest"),
    ],
)
def test_a_name_is_read_with_its_default_tag(text: str, whole: str) -> None:
    assert str(named(text)) == whole


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "a:", "-a", ".a", "a b", "a:b c", "a/b/c/d", "/a", "a//b", "ann.x/m", "é", "a\nb", "a:b:c"),
        *("a" * 81, "a:" + "b" * 81, "m:local", "m:cloud", "m:Cloud"),
    ],
)
def test_a_name_that_ollama_would_refuse_is_refused_before_it_is_asked(text: str) -> None:
    problem = parse_name(text, where="--name")
    assert isinstance(problem, Problem)
    assert (problem.code, problem.where) == ("INPUT_VALIDATION_FAILED", "--name")


def test_names_of_one_model_are_equal_by_their_key() -> None:
    assert named("LLama3.2").key == named("registry.ollama.ai/library/llama3.2:LATEST").key
    assert named("llama3.2:1b").key != named("llama3.2").key


@pytest.mark.parametrize(
    ("text", "part"),
    [("my model", "my-model"), ("..", "model"), ("é", "model"), ("-x-", "x"), ("cloud", "cloud-model"), ("a/b", "a-b")],
)
def test_any_text_can_be_made_a_part_of_a_name(text: str, part: str) -> None:
    assert part_from(text) == part


@pytest.mark.parametrize(
    ("base", "adapter", "name"),
    [("llama3.2", "task", "llama3.2:task"), ("llama3.2:1b", "task", "llama3.2:1b-task"), ("ann/m", "a_b", "ann/m:a_b")],
)
def test_an_adapter_stands_on_its_base_s_shelf_and_the_base_does_not(base: str, adapter: str, name: str) -> None:
    found = shelf_name(named(base), adapter)
    assert str(found) == name
    assert is_on_shelf(found, named(base))
    assert not is_on_shelf(named(base), named(base))


def test_an_adapter_of_one_size_is_not_on_the_shelf_of_another() -> None:
    assert not is_on_shelf(named("llama3.2:1b-task"), named("llama3.2:3b"))
    assert is_on_shelf(named("llama3.2:1b-task"), named("llama3.2"))
    assert not is_on_shelf(named("ann/llama3.2:task"), named("llama3.2"))
