"""What each kind of value accepts, refuses and expects."""

from __future__ import annotations

from typing import Any

import pytest

from backprop.plan.settings.kinds import Choice, Kind, ModelName, Names, Real, Several, Switch, Whole, Words, model_name
from backprop.plan.settings.option import options_of
from backprop.plan.settings.training import Optimizer, Tracker, TrainingSettings

TRACKERS = Several(Tracker, nothing=Tracker.NONE)
SOME_TRACKERS = "none, or some of tensorboard / wandb / mlflow / trackio, separated by commas"
STEPS, SHARE, RATE = Whole(minimum=1, maximum=9), Real(at_least=0, below=1), Real(above=0)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (STEPS, " 9 ", 9),
        (Whole(minimum=1, auto=True), "AUTO", None),
        (SHARE, "0", 0.0),
        (RATE, "2e-4", 2e-4),
        (Switch(), "On", True),
        (Switch(), "0", False),
        (Choice(Optimizer), "SGD", Optimizer.SGD),
        (TRACKERS, "WandB, mlflow,wandb", (Tracker.WANDB, Tracker.MLFLOW)),
        (TRACKERS, "none", ()),
        (Words(), " a b ", " a b "),
        (Names(), "q_proj, v_proj", ("q_proj", "v_proj")),
    ],
)
def test_text_is_read_with_blanks_and_case_forgiven(kind: Kind, text: str, value: Any) -> None:
    assert kind.read(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "shape"),
    [
        (STEPS, "0", "a whole number from 1 to 9"),
        (STEPS, "10", "a whole number from 1 to 9"),
        (Whole(minimum=1), "1.5", "a whole number of at least 1"),
        (Whole(minimum=1), "9" * 5000, "a whole number of at least 1"),
        (Whole(minimum=1, auto=True), "atuo", 'a whole number of at least 1, or "auto"'),
        (STEPS, "auto", "a whole number from 1 to 9"),
        (SHARE, "1", "a number of at least 0 and below 1"),
        (SHARE, "-0.1", "a number of at least 0 and below 1"),
        (Real(at_least=0, at_most=1), "1.1", "a number of at least 0 and of at most 1"),
        (RATE, "0", "a number above 0"),
        (RATE, "nan", "a number above 0"),
        (RATE, "inf", "a number above 0"),
        (RATE, "fast", "a number above 0"),
        (Switch(), "maybe", "true or false"),
        (TRACKERS, "wandb,none", f"{SOME_TRACKERS}"),
        (TRACKERS, "", f"{SOME_TRACKERS}"),
        (TRACKERS, "wnadb", f'{SOME_TRACKERS} (did you mean "wandb"?)'),
        (Words(), " ", "some text"),
        (Words(), "a\0b", "text in UTF-8"),
        (Words(), "caf\udce9", "text in UTF-8"),
        (Names(), "a,,b", "names separated by commas"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_expected_shape(kind: Kind, text: str, shape: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  the message is the whole promise
        kind.read(text)
    assert str(refusal.value) == shape


def test_a_misspelt_choice_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r'one of auto / .* \(did you mean "adafactor"\?\)'):
        Choice(Optimizer).read("adafacto")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (STEPS, True),
        (STEPS, "5"),
        (STEPS, 5.0),
        (RATE, True),
        (RATE, "0.1"),
        (RATE, 10**400),
        (Switch(), 1),
        (Switch(), "true"),
        (Choice(Optimizer), 3),
        (Words(), 3),
        (Names(), ["a", 1]),
        (Names(), []),
    ],
)
def test_a_typed_value_of_the_wrong_type_is_refused(kind: Kind, value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        kind.accept(value)


def test_typed_values_are_taken_as_a_file_gives_them() -> None:
    assert Whole(minimum=1, auto=True).accept("auto") is None
    assert RATE.accept(1) == 1.0
    assert Names().accept(["a", "b"]) == ("a", "b")
    assert Choice(Optimizer).accept("sgd") is Choice(Optimizer).accept(Optimizer.SGD)


def test_the_json_schema_says_the_same_bounds() -> None:
    assert STEPS.json_schema() == {"type": "integer", "minimum": 1, "maximum": 9}
    assert SHARE.json_schema() == {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
    assert {"const": "auto"} in Whole(minimum=1, auto=True).json_schema()["anyOf"]
    assert "sgd" in Choice(Optimizer).json_schema()["enum"]


def test_a_word_for_what_another_flag_does_leads_there() -> None:
    (mode,) = (bound.option.kind for bound in options_of(TrainingSettings) if bound.name == "mode")
    with pytest.raises(ValueError, match=r"one of lora / full \(did you mean --load-in-4bit, with --mode lora\?\)"):
        mode.read("qlora")


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B"),
        ("Qwen/Qwen2.5-7B/", "Qwen/Qwen2.5-7B"),
        ("https://huggingface.co/Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B"),
        ("http://www.huggingface.co/Qwen/Qwen2.5-7B/", "Qwen/Qwen2.5-7B"),
        ("hf.co/Qwen/Qwen2.5-7B?library=transformers", "Qwen/Qwen2.5-7B"),
        ("https://huggingface.co/Qwen/Qwen2.5-7B/blob/main/config.json", "Qwen/Qwen2.5-7B"),
        ("https://example.org/Qwen/Qwen2.5-7B", "https://example.org/Qwen/Qwen2.5-7B"),
        ("./models/mine//", "./models/mine"),
        ("/", "/"),
        (" /", " /"),
    ],
)
def test_a_model_is_named_by_its_page_or_with_a_slash_too_many(said: str, name: str) -> None:
    assert ModelName().read(said) == ModelName().accept(said) == model_name(name) == name
