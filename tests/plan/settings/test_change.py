"""One setting written into a table: typed, in its group, without what it excludes."""

from __future__ import annotations

from typing import Any

import pytest

from backprop.plan.decision import Problem
from backprop.plan.settings.change import Change, plan_change

FILE = "config.toml"


def changed(text: str, table: dict[str, Any]) -> Change:
    change = plan_change(text, table, file=FILE)
    assert isinstance(change, Change)
    return change


@pytest.mark.parametrize(
    "name", ["training.max_steps", "TRAINING__MAX_STEPS", "BACKPROPAGATE_TRAINING__MAX_STEPS", " training.max_steps "]
)
def test_a_setting_is_named_by_its_key_or_its_variable(name: str) -> None:
    assert changed(f"{name}=7", {}) == Change({"training": {"max_steps": 7}}, "training.max_steps", "7")


def test_what_else_the_table_holds_stays_and_the_table_given_is_not_touched() -> None:
    table = {"lora": {"r": 4, "lora_alpha": 8.0}, "mine": 1, "model.name": "m"}
    assert changed("lora.r=16", table).table == {"lora": {"r": 16, "lora_alpha": 8.0}, "mine": 1, "model.name": "m"}
    assert table == {"lora": {"r": 4, "lora_alpha": 8.0}, "mine": 1, "model.name": "m"}


@pytest.mark.parametrize(
    "table", [{"training": {"max_steps": 5, "seed": 1}}, {"training.max_steps": 5, "training": {"seed": 1}}]
)
def test_what_it_excludes_is_removed_and_named(table: dict[str, Any]) -> None:
    change = changed("training.num_train_epochs=2", table)
    assert change.table == {"training": {"seed": 1, "num_train_epochs": 2.0}}
    assert change.removed == ("training.max_steps",)


def test_a_value_is_shown_without_its_secrets_and_written_with_them() -> None:
    change = changed("model.name=https://me:word@host/m", {})
    assert change.table == {"model": {"name": "https://me:word@host/m"}}
    assert "me:word" not in change.value


@pytest.mark.parametrize(
    ("text", "table", "code", "part"),
    [
        ("training.max_steps", {}, "INPUT_VALIDATION_FAILED", "KEY=VALUE"),
        ("training.max_stesp=5", {}, "CONFIG_UNKNOWN_SETTING", "Did you mean training.max_steps?"),
        ("TRAINING__MAX_STESP=5", {}, "CONFIG_UNKNOWN_SETTING", "Did you mean training.max_steps?"),
        ("training.lr=1", {}, "CONFIG_UNKNOWN_SETTING", "Did you mean training.learning_rate?"),
        ("zzzzzz=5", {}, "CONFIG_UNKNOWN_SETTING", '"zzzzzz" is not a setting'),
        ("training.max_steps=0", {}, "CONFIG_INVALID_SETTING", "at least 1"),
        ("model.name=y", {"model": "x"}, "CONFIG_INVALID", '"model" is not a table in config.toml'),
    ],
)
def test_what_cannot_be_written_is_a_problem(text: str, table: dict[str, Any], code: str, part: str) -> None:
    problem = plan_change(text, table, file=FILE)
    assert isinstance(problem, Problem)
    assert problem.code == code
    assert part in problem.message + problem.hint
