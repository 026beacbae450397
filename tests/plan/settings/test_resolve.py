"""Problems of a configuration: all at once, each with value, place, expected shape and the nearest name."""

from __future__ import annotations

from typing import Any

import pytest

from backprop.plan.decision import Problem, Refused, Severity
from backprop.plan.settings.option import options_of
from backprop.plan.settings.resolve import Layer, Resolved, Source, environment_layer, resolve, table_layer
from backprop.plan.settings.verbs.config import EverySetting
from backprop.plan.settings.verbs.train import TrainSettings

KNOWN = options_of(EverySetting)


def refused(*layers: Layer) -> tuple[Problem, ...]:
    result = resolve(TrainSettings, layers)
    assert isinstance(result, Refused)
    return result.problems


def table(data: dict[str, Any]) -> tuple[Layer, tuple[Problem, ...]]:
    return table_layer(data, known=KNOWN, source=Source.CONFIG, place="backprop.toml")


def test_everything_that_is_wrong_is_reported_together() -> None:
    flags = Layer(Source.FLAG, "", {"training.max_steps": "0", "training.learning_rate": "nan"})
    variables, _ = environment_layer({"BACKPROPAGATE_LORA__R": "many"}, known=KNOWN)
    file, _ = table({"training": {"seed": "one"}, "data": {"packing": 1}})
    problems = refused(flags, variables, file)
    assert {(p.code, p.where) for p in problems} == {
        ("CONFIG_INVALID_SETTING", "--steps"),
        ("CONFIG_INVALID_SETTING", "--lr"),
        ("CONFIG_INVALID_SETTING", "BACKPROPAGATE_LORA__R"),
        ("CONFIG_INVALID_SETTING", "backprop.toml"),
    }
    assert len(problems) == 5


def test_a_bad_value_is_named_with_its_setting_its_place_and_what_is_expected() -> None:
    variables, _ = environment_layer({"BACKPROPAGATE_TRAINING__OPTIM": "adafacto"}, known=KNOWN)
    (problem,) = refused(variables)
    for part in ('"adafacto"', "--optim", "training.optim", "one of auto /", 'did you mean "adafactor"?'):
        assert part in problem.message
    assert "BACKPROPAGATE_TRAINING__OPTIM" in problem.hint


def test_a_stronger_source_hides_a_bad_value_of_a_weaker_one() -> None:
    flag, file = Layer(Source.FLAG, "", {"lora.r": "8"}), Layer(Source.USER, "f", {"lora.r": "bad"}, typed=True)
    assert isinstance(resolve(TrainSettings, (flag, file)), Resolved)


def test_a_misspelt_variable_is_one_warning_with_the_nearest_name() -> None:
    layer, (problem,) = environment_layer({"BACKPROPAGATE_LORA__RR": "8", "PATH": "/bin"}, known=KNOWN)
    assert problem.severity is Severity.WARNING
    assert problem.hint == "Did you mean BACKPROPAGATE_LORA__R?"
    assert not layer.values


def test_a_variable_like_no_other_points_to_where_the_names_are() -> None:
    _, (problem,) = environment_layer({"BACKPROPAGATE_QQQQ": "8"}, known=KNOWN)
    assert "--help-all" in problem.hint


def test_an_empty_variable_counts_as_unset() -> None:
    assert not environment_layer({"BACKPROPAGATE_LORA__R": " "}, known=KNOWN)[0].values


@pytest.mark.parametrize(
    ("data", "nearest"),
    [
        ({"training": {"max_stesp": 5}}, "training.max_steps"),
        ({"learning_rate": 1e-4}, "training.learning_rate"),
        ({"lora": {"dropout": 0.1}}, "lora.lora_dropout"),
        ({"zzz": {"qqq": 1}}, ""),
        ({"training": 5}, ""),
        ({"model": [{"name": "x"}]}, ""),
    ],
)
def test_a_key_that_does_not_exist_is_an_error_with_the_nearest_one(data: dict[str, Any], nearest: str) -> None:
    layer, (problem,) = table(data)
    assert (problem.code, problem.where) == ("CONFIG_UNKNOWN_SETTING", "backprop.toml")
    assert nearest in problem.hint
    assert not layer.values


def test_a_table_in_the_place_of_a_value_is_a_bad_value() -> None:
    assert refused(table({"training": {"max_steps": {"deep": 1}}})[0])[0].code == "CONFIG_INVALID_SETTING"


def test_a_key_may_be_dotted_or_in_its_table() -> None:
    dotted, in_table = table({"lora.r": 8}), table({"lora": {"r": 8}})
    assert dotted == in_table
    assert not dotted[1]


def test_two_that_exclude_each_other_from_one_source_are_an_error_that_names_both() -> None:
    flags = Layer(Source.FLAG, "", {"training.max_steps": "5", "training.num_train_epochs": "1"})
    (problem,) = refused(flags)
    assert "training.max_steps and training.num_train_epochs" in problem.message
    assert problem.where == "--steps, --epochs"


def test_keys_of_other_verbs_are_left_alone() -> None:
    result = resolve(TrainSettings, (Layer(Source.USER, "f", {"log.level": "loud"}, typed=True),))
    assert isinstance(result, Resolved)


def test_who_writes_a_flags_name_where_a_key_belongs_is_told_the_key() -> None:
    _, (in_table,) = table({"training": {"lr": 1e-4}})
    assert "training.learning_rate" in in_table.hint
    _, (variable,) = environment_layer({"BACKPROPAGATE_TRAINING__BATCH_SIZE": "2"}, known=KNOWN)
    assert "BACKPROPAGATE_TRAINING__PER_DEVICE_TRAIN_BATCH_SIZE" in variable.hint
