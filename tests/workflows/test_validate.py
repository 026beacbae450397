from __future__ import annotations

from pathlib import Path

import pytest

import backprop
from backprop.plan.data.check import Check
from backprop.plan.data.layout import Layout
from backprop.plan.errors import BackpropError
from backprop.plan.settings.data import RowFormat
from backprop.plan.settings.verbs.validate import ValidateSettings
from backprop.plan.wire.outcome import Status
from backprop.workflows import validate
from backprop.workflows.request import Request
from tests.effects.probe.test_validation import BLANK, FINE, UNASKED, file_of
from tests.tiny import make_tiny_model

ALPACA = {"instruction": "1?", "output": "One."}


def code_of(error: BackpropError) -> str:
    return error.problems[0].code


def test_a_valid_file_is_a_success_with_its_layout(tmp_path: Path) -> None:
    outcome = validate.run(Request(ValidateSettings(dataset=str(file_of(tmp_path, FINE, UNASKED)))))
    assert (outcome.status, outcome.exit_code, outcome.problems) == (Status.OK, 0, ())
    report = outcome.report
    assert isinstance(report, backprop.ValidationReport)
    assert (report.format_detected, report.format, report.total_samples) == (Layout.OPENAI, Layout.OPENAI, 2)
    assert (report.num_errors, report.num_warnings) == (0, 1)


def test_errors_are_a_report_and_exit_code_65(tmp_path: Path) -> None:
    path = file_of(tmp_path, FINE, BLANK)
    outcome = validate.run(Request(ValidateSettings(dataset=str(path))))
    assert (outcome.status, outcome.exit_code) == (Status.FAILED, 65)
    assert [(p.code, p.where) for p in outcome.problems] == [("INPUT_DATASET_VALIDATION_FAILED", f"{path}:2")]
    assert outcome.report.errors[0].key == "messages[1].content"


def test_lines_that_are_no_utf_8_are_exit_code_1(tmp_path: Path) -> None:
    path = file_of(tmp_path, FINE, BLANK, b'{"text": "caf\xe9"}')
    outcome = validate.run(Request(ValidateSettings(dataset=str(path))))
    assert (outcome.exit_code, outcome.report.num_errors) == (1, 2)


def test_a_layout_that_is_asked_for_is_the_one_that_counts(tmp_path: Path) -> None:
    path = file_of(tmp_path, ALPACA)
    report = backprop.validate_dataset(path, format="openai")
    assert [finding.check for finding in report.errors] == [Check.MISSING_KEY]
    assert (report.format_detected, report.format) == (Layout.ALPACA, Layout.OPENAI)
    assert backprop.validate_dataset(path).is_valid
    assert {member.value for member in RowFormat} == {"auto", *(layout.value for layout in Layout)}


def test_a_file_in_no_layout_names_its_keys(tmp_path: Path) -> None:
    report = backprop.validate_dataset(file_of(tmp_path, {"alpha": 1}, {"beta": 2}))
    assert (report.format_detected, [f.check for f in report.errors]) == (None, [Check.LAYOUT] * 2)


def test_the_number_of_rows_and_errors_can_be_limited(tmp_path: Path) -> None:
    path = file_of(tmp_path, *[BLANK] * 9)
    assert backprop.validate_dataset(path, max_errors=3).total_samples == 3
    assert backprop.validate_dataset(path, max_samples=4).total_samples == 4
    assert backprop.validate_dataset(path).total_samples == 9


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"max_errors": 0}, "CONFIG_INVALID_SETTING"),
        ({"max_samples": 0}, "CONFIG_INVALID_SETTING"),
        ({"format": "parquet"}, "CONFIG_INVALID_SETTING"),
        ({"max_seq_length": 7}, "CONFIG_INVALID_SETTING"),
        ({"max_seq_length": 100}, "INPUT_VALIDATION_FAILED"),
        ({"model": "/no/such/model"}, "INPUT_MODEL_NOT_FOUND"),
    ],
)
def test_values_that_cannot_be_used_are_refused(tmp_path: Path, given: dict[str, object], code: str) -> None:
    with pytest.raises(BackpropError) as error:
        backprop.validate_dataset(file_of(tmp_path, FINE), **given)  # type: ignore[arg-type]
    assert code_of(error.value) == code


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackpropError) as error:
        backprop.validate_dataset(tmp_path / "none.jsonl")
    assert code_of(error.value) == "INPUT_DATASET_NOT_FOUND"


def test_the_context_is_the_models_where_it_is_shorter_than_trains_default(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    row = {"messages": [FINE["messages"][0], {"role": "assistant", "content": "Yes " * 5000}]}
    path = file_of(tmp_path, FINE, row)
    (finding,) = backprop.validate_dataset(path, model=model).warnings
    assert (finding.check, finding.line) == (Check.TOO_LONG, 2)
