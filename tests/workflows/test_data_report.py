"""``backprop.analyze_dataset``, and what the workflow does beside the report."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import backprop
from backprop import BackpropError, Event, analyze_dataset
from backprop.plan.data.quality import Rate, Verdict
from backprop.plan.data.quality_report import DataReport
from backprop.plan.decision import Problem
from backprop.plan.events import Stage
from backprop.plan.exit_code import exit_code_for
from backprop.plan.settings.data import DataSettings
from backprop.plan.settings.resolve import Origin, Origins, Source
from backprop.plan.settings.verbs.data_report import DataReportSettings
from backprop.plan.wire.outcome import Status
from backprop.workflows.data_report import run
from backprop.workflows.request import Request


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    lines = [{"instruction": f"What is {i} plus {i}?", "output": f"It is {2 * i}, friend."} for i in range(20)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines * 2), encoding="utf-8")
    return path


def test_a_gate_that_trips_is_a_report_and_raises_nothing(rows: Path) -> None:
    report = analyze_dataset(str(rows), fail_on_dups=0.4)
    assert (report.verdict.value, report.near_duplicate_rate) == ("FAIL", 0.5)
    assert report.failed_thresholds[0] == "duplicates 0.5 > 0.4 (--fail-on-dups)"
    assert analyze_dataset(rows, dup_threshold=1.0).verdict.value == "FAIL"


def test_every_argument_counts(rows: Path, tmp_path: Path) -> None:
    other = tmp_path / "texts.jsonl"
    other.write_text('{"text": "a", "body": "It is another text."}\n', encoding="utf-8")
    assert analyze_dataset(rows, max_samples=7).total_rows == 7
    assert analyze_dataset(rows, format="raw").parseable_rows == 0
    assert analyze_dataset(rows, dup_threshold=0.0).duplicate_clusters == 1
    assert analyze_dataset(other, text_column="body").tokens.total > analyze_dataset(other).tokens.total
    contamination = analyze_dataset(rows, against=rows, fail_on_contamination=0.5).contamination
    assert contamination is not None
    assert contamination.overlap_rate == 1
    assert analyze_dataset(rows, max_samples=20, max_outlier_rate=0.0, strict=True).verdict.value == "PASS"


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ({"format": "opneai"}, "CONFIG_INVALID_SETTING", "openai"),
        ({"dup_threshold": 1.5}, "CONFIG_INVALID_SETTING", "at most 1"),
        ({"max_samples": 0}, "CONFIG_INVALID_SETTING", "at least 1"),
        ({"fail_on_dups": -0.1}, "CONFIG_INVALID_SETTING", "at least 0"),
        ({"against": "nowhere.jsonl"}, "INPUT_DATASET_NOT_FOUND", "nowhere.jsonl"),
        ({"model": "./nowhere"}, "INPUT_MODEL_NOT_FOUND", "nowhere"),
    ],
)
def test_a_bad_value_is_an_error_of_the_catalogue(rows: Path, values: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(BackpropError) as caught:
        analyze_dataset(rows, **values)
    (problem,) = caught.value.problems
    assert problem.code == code
    assert words in problem.message


def test_the_public_name_says_what_it_returns() -> None:
    assert backprop.DataReport.__doc__
    assert analyze_dataset.__annotations__["return"] == "DataReport"


def test_progress_is_told_as_stages(rows: Path) -> None:
    told: list[Event] = []
    outcome = run(Request(DataReportSettings(dataset=str(rows)), emit=told.append))
    assert outcome.status is Status.OK
    assert told == [Stage("reading rows.jsonl"), Stage("comparing rows")]


@pytest.mark.parametrize(
    ("settings", "key", "flag"),
    [
        ({"data": DataSettings(chat_template="chatml")}, "data.chat_template", "--model"),
        ({"data": DataSettings(dataset_split="test")}, "data.dataset_split", "Hub"),
    ],
)
def test_a_flag_that_changes_nothing_is_a_warning(rows: Path, settings: dict[str, Any], key: str, flag: str) -> None:
    given = Origins({key: Origin(Source.FLAG, key)})
    outcome = run(Request(DataReportSettings(dataset=str(rows), **settings), given))
    assert outcome.exit_code == 0
    (problem,) = outcome.problems
    assert flag in problem.message + problem.hint


def test_the_advice_is_about_the_gate_that_tripped_not_about_what_else_is_wrong(rows: Path) -> None:
    outcome = run(
        Request(DataReportSettings(dataset=str(rows), against=str(rows), fail_on_dups=1.0, fail_on_contamination=0.5))
    )
    (problem,) = outcome.problems
    assert problem.code == "INPUT_DATASET_REPORT_THRESHOLD"
    assert problem.hint == "Remove the rows that stand in both, or hold others out."


def test_a_gate_that_checks_nothing_is_refused(rows: Path) -> None:
    with pytest.raises(BackpropError, match="checks nothing without --against") as error:
        analyze_dataset(rows, fail_on_contamination=0.0)
    assert exit_code_for(error.value.problems) == 1
    assert analyze_dataset(rows, against=rows, fail_on_contamination=0.0).verdict is Verdict.FAIL


def test_what_was_not_checked_has_no_verdict(rows: Path) -> None:
    (check,) = (check for check in analyze_dataset(rows).rates if check.rate is Rate.CONTAMINATION)
    assert (check.value, check.verdict) == (None, None)


def test_one_sided_labels_are_a_warning_and_fail_a_strict_report(tmp_path: Path) -> None:
    path = tmp_path / "rated.jsonl"
    rated = [{"prompt": f"What is {n}?", "completion": f"It is {n}.", "label": True} for n in range(5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rated))
    assert analyze_dataset(path).verdict is Verdict.WARN
    outcome = run(Request(DataReportSettings(dataset=str(path), strict=True)))
    assert outcome.exit_code == 65
    assert "all 5 labels are true" in outcome.problems[0].message
    assert "other label" in outcome.problems[0].hint


def report_refused(rows: Path, **settings: Any) -> BackpropError:
    """The refusal, of which no row was read."""
    told: list[Event] = []
    with pytest.raises(BackpropError) as error:
        run(Request(DataReportSettings(dataset=str(rows), **settings), emit=told.append))
    assert not told
    assert error.value.problems[0].where == "--html"
    assert error.value.problems[0].code == "INPUT_VALIDATION_FAILED"
    return error.value


def test_the_page_never_overwrites_what_is_read(rows: Path, tmp_path: Path) -> None:
    before = rows.read_bytes()
    other, link, config = tmp_path / "other.jsonl", tmp_path / "page.html", tmp_path / "config.toml"
    shutil.copy(rows, other)
    link.symlink_to(rows)
    config.touch()
    assert "is the data set itself" in str(report_refused(rows, html=str(rows)))
    assert "is the data set itself" in str(report_refused(rows, html=str(link)))
    assert "is a file that is read" in str(report_refused(rows, html=str(other), against=str(other)))
    assert "is a file that is read" in str(report_refused(rows, html=str(config), config=str(config)))
    assert (rows.read_bytes(), other.read_bytes()) == (before, before)


def test_a_page_that_cannot_be_written_is_refused_before_the_reading(rows: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is a pipe" in str(report_refused(rows, html=str(tmp_path / "pipe")))
    assert "is a directory" in str(report_refused(rows, html=str(tmp_path)))
    assert "Not a directory" in str(report_refused(rows, html=str(rows / "deep" / "page.html")))
    assert "is no file" in str(report_refused(rows, html="-"))
    assert (tmp_path / "pipe").is_fifo()


def test_a_page_that_fails_all_the_same_does_not_cost_the_report(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: str) -> None:
        raise BackpropError(Problem("RUNTIME_DISK_FULL", f"{path} cannot be written: no space.", where=str(path)))

    monkeypatch.setattr("backprop.workflows.data_report.write_atomic", full)
    outcome = run(Request(DataReportSettings(dataset=str(rows), html=str(tmp_path / "page.html"))))
    assert isinstance(outcome.report, DataReport)
    assert outcome.report.html is None
    assert [(problem.code, problem.where) for problem in outcome.problems] == [("RUNTIME_DISK_FULL", "--html")]
    assert outcome.exit_code == 2
