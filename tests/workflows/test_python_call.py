"""Functions of the library take what their commands take."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backprop import BackpropError, analyze_dataset, split_dataset, validate_dataset
from backprop.plan.settings.option import options_of
from backprop.plan.settings.verbs.data_report import DataReportSettings
from backprop.plan.settings.verbs.data_split import DataSplitSettings
from backprop.plan.settings.verbs.validate import ValidateSettings
from backprop.workflows.python_call import settings_of

OF_THE_COMMAND_LINE = {"dataset", "config", "json", "html", "chat_template"}
"""``dataset`` is the argument ``path``; a template is found in the model."""
TWINS = [
    (validate_dataset, ValidateSettings, set()),
    (analyze_dataset, DataReportSettings, set()),
    (split_dataset, DataSplitSettings, {"format"}),
]


@pytest.mark.parametrize(("function", "settings", "left_out"), TWINS)
def test_arguments_and_their_defaults_are_those_of_the_command(
    function: Callable[..., Any], settings: type[Any], left_out: set[str]
) -> None:
    said = {name: arg.default for name, arg in inspect.signature(function).parameters.items() if name != "path"}
    known = {bound.name: bound.default for bound in options_of(settings)}
    assert set(said) == set(known) - OF_THE_COMMAND_LINE - left_out
    plain = {name: known[name].value if isinstance(known[name], enum.Enum) else known[name] for name in said}
    assert said == plain


def test_paths_become_text_and_none_is_a_default() -> None:
    settings = settings_of(ValidateSettings, dataset=Path("a") / "b.jsonl", max_samples=None, text_column="body")
    assert (settings.dataset, settings.max_samples) == (str(Path("a") / "b.jsonl"), None)
    assert settings.data.text_column == "body"


def test_everything_that_is_wrong_is_told_together() -> None:
    with pytest.raises(BackpropError) as refused:
        settings_of(ValidateSettings, dataset="a.jsonl", max_errors=0, format="parquet")
    assert [problem.code for problem in refused.value.problems] == ["CONFIG_INVALID_SETTING"] * 2
