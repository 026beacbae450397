"""One declaration, many names: flag, variable, key."""

from __future__ import annotations

import pytest

from backprop.plan.settings.commands import COMMANDS, command_named
from backprop.plan.settings.nearest import nearest
from backprop.plan.settings.option import BoundOption, flags_for, options_of, value_at
from backprop.plan.settings.training import TrainingSettings
from backprop.plan.settings.verbs.config import EverySetting
from backprop.plan.settings.verbs.generate import GenerateSettings
from backprop.plan.settings.verbs.train import TrainSettings

BY_KEY: dict[str, BoundOption] = {b.key: b for s in (EverySetting, TrainSettings) for b in options_of(s)}


@pytest.mark.parametrize(
    ("key", "flag", "negative", "variable"),
    [
        ("training.max_steps", "--steps", None, "BACKPROPAGATE_TRAINING__MAX_STEPS"),
        ("training.output_dir", "--output", None, "BACKPROPAGATE_TRAINING__OUTPUT_DIR"),
        ("data.packing", "--packing", "--no-packing", "BACKPROPAGATE_DATA__PACKING"),
        ("log.format", "--log-format", None, "BACKPROPAGATE_LOG_JSON"),
        ("log.debug", "--verbose", "--no-verbose", "BACKPROPAGATE_DEBUG"),
        ("dry_run", "--dry-run", "--no-dry-run", None),
    ],
)
def test_names_follow_from_group_and_field(key: str, flag: str, negative: str | None, variable: str | None) -> None:
    bound = BY_KEY[key]
    assert (bound.flag, bound.negative_flag, bound.env) == (flag, negative, variable)


def test_only_what_differs_from_the_defaults_becomes_a_flag_and_positionals_come_last() -> None:
    assert flags_for(TrainSettings()) == ()
    generate = GenerateSettings(adapter_path="-out", prompt="--help", num=2)
    assert flags_for(generate) == (
        "--num=2",
        "--",
        "-out",
        "--help",
    )
    assert flags_for(TrainSettings(training=TrainingSettings(bf16=False), dry_run=True)) == ("--no-bf16", "--dry-run")


def test_a_value_is_found_in_its_place() -> None:
    settings = TrainSettings(training=TrainingSettings(seed=7))
    assert value_at(settings, BY_KEY["training.seed"]) == 7


def test_secure_defaults() -> None:
    assert BY_KEY["model.trust_remote_code"].default is False


def test_the_nearest_name_ignores_case_and_is_none_when_nothing_is_near() -> None:
    assert nearest("TRIAN", ["train", "resume"]) == "train"
    assert nearest("xyz", ["train", "resume"]) is None
    assert nearest("x", []) is None


def test_commands_have_one_name_each_and_a_deprecated_one_names_another() -> None:
    assert len({c.name for c in COMMANDS}) == len(COMMANDS)
    for command in COMMANDS:
        assert command_named(command.name) is command
        if command.prefer:
            other = command_named(command.prefer)
            assert other is not None
            assert (other.settings, other.module) == (command.settings, command.module)
    assert command_named("nothing") is None
