"""Files judged row by row: what takes a file to be found, where judging stops, and that processes change nothing."""

from __future__ import annotations

import gzip
import json
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from backprop.effects.files.rows import blocks_of
from backprop.effects.probe import validation
from backprop.effects.probe.validation import BlockJudge, judge_rows, observe_layout
from backprop.plan.data.check import Check
from backprop.plan.data.judge import RowJudge
from backprop.plan.data.layout import Layout
from backprop.plan.data.tally import Limits, Tally
from backprop.plan.data.validation import ValidationReport, make_report, verdict
from backprop.plan.errors import BackpropError
from tests.effects.processes.together import working_together

FINE = {"messages": [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "One."}]}
BLANK = {"messages": [{"role": "user", "content": "1?"}, {"role": "assistant", "content": ""}]}
UNASKED = {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "One."}]}


def file_of(directory: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    path = directory / name
    lines = (row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def tally_of(path: Path, *, max_errors: int = 100, max_rows: int | None = None, num_processes: int = 1) -> Tally:
    detection = observe_layout((path,), text_column="text")
    judge = BlockJudge(RowJudge(detection.layout, True, "text"))
    return judge_rows((path,), judge, Limits(max_errors, max_rows), num_processes=num_processes)


def report_of(path: Path, **given: Any) -> ValidationReport:
    detection = observe_layout((path,), text_column="text")
    return make_report(tally_of(path, **given), detection, detection.layout, name=str(path))


def checks(report: ValidationReport) -> dict[Check, int]:
    return {count.check: count.count for count in report.checks}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every few rows are a block of their own."""
    monkeypatch.setattr(validation, "blocks_of", partial(blocks_of, block_bytes=300))


def test_lines_that_are_no_json_and_lines_that_are_no_text_are_told_apart(tmp_path: Path) -> None:
    report = report_of(file_of(tmp_path, FINE, b"{oops", b'{"messages": "caf\xe9"}', FINE))
    assert [(f.check, f.line) for f in report.errors] == [(Check.UNREADABLE, 2), (Check.ENCODING, 3)]
    assert report.errors[0].message.startswith("is not JSON: ")
    assert report.errors[0].excerpt == "{oops"
    assert (report.total_samples, report.invalid_samples) == (4, 2)
    (problem,) = verdict(report)
    assert problem.code == "INPUT_DATASET_PARSE_FAILED"


def test_labels_that_are_all_alike_concern_the_whole_file(tmp_path: Path) -> None:
    rated = [{"prompt": f"{i}?", "completion": "Yes.", "label": True} for i in range(3)]
    report = report_of(file_of(tmp_path, *rated))
    assert [(f.check, f.line, f.key, f.message) for f in report.errors] == [
        (Check.ONE_SIDED_LABELS, None, "label", "all 3 labels are true")
    ]
    (problem,) = verdict(report)
    assert problem.message.endswith("has 1 error of the file as a whole: all 3 labels are true.")
    assert report_of(file_of(tmp_path, *rated, {**rated[0], "label": 0})).is_valid


def test_labels_in_a_table_are_text(tmp_path: Path) -> None:
    path = tmp_path / "rated.tsv"
    path.write_text("prompt\tcompletion\tlabel\n1?\tOne.\tTrue\n2?\tFive.\tFALSE\n3?\tThree.\t1\n4?\tSix.\t0\n")
    report = report_of(path)
    assert (report.format, report.is_valid, report.total_samples) == (Layout.KTO, True, 4)


def test_a_row_in_another_layout_is_an_error_and_the_mixture_a_warning(tmp_path: Path) -> None:
    report = report_of(file_of(tmp_path, FINE, FINE, {"instruction": "1?", "output": "One."}, {"text": "x"}))
    assert [(f.check, f.line) for f in report.errors] == [(Check.LAYOUT, 3), (Check.LAYOUT, 4)]
    assert [f.message for f in report.warnings] == [
        "most rows are laid out as openai, but 1 as alpaca, 1 as raw",
    ]
    assert (report.format_detected, report.format_confidence) == (Layout.OPENAI, 0.5)


def test_the_layout_is_told_from_the_first_rows_that_can_be_read(tmp_path: Path) -> None:
    path = file_of(tmp_path, *[b"{oops"] * 30, FINE)
    assert observe_layout((path,), text_column="text").layout is Layout.OPENAI


def test_judging_stops_after_as_many_errors_and_says_so(tmp_path: Path) -> None:
    path = file_of(tmp_path, FINE, BLANK, UNASKED, BLANK, BLANK, FINE)
    report = report_of(path, max_errors=2)
    assert [f.line for f in report.errors] == [2, 4]
    assert (report.total_samples, report.complete, report.is_valid) == (4, False, False)
    assert [f.line for f in report.warnings] == [3]
    assert report_of(path, max_errors=4).complete


@pytest.mark.parametrize("num_processes", [1, 2])
@pytest.mark.parametrize("block_bytes", [50, 300, 1 << 20])
def test_a_last_row_with_the_last_error_leaves_nothing_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, num_processes: int
) -> None:
    monkeypatch.setattr(validation, "blocks_of", partial(blocks_of, block_bytes=block_bytes))
    path = file_of(tmp_path, FINE, BLANK, FINE, BLANK)
    at_the_end = report_of(path, max_errors=2, num_processes=num_processes)
    assert (at_the_end.total_samples, at_the_end.complete) == (4, True)
    (problem,) = verdict(at_the_end)
    assert problem.message == f"{path} has errors in 2 of 4 rows."
    before = report_of(path, max_errors=1, num_processes=num_processes)
    assert (before.total_samples, before.complete) == (2, False)
    (problem,) = verdict(before)
    assert problem.message.endswith("and was not read further.")
    assert report_of(path, max_errors=1, max_rows=2, num_processes=num_processes).complete


def test_warnings_are_all_counted_and_as_many_listed_as_errors_would_be(tmp_path: Path) -> None:
    report = report_of(file_of(tmp_path, *[UNASKED] * 5), max_errors=2)
    assert (checks(report), len(report.warnings), report.complete) == ({Check.EMPTY_USER: 5}, 2, True)
    assert report.is_valid


def test_no_more_rows_are_read_than_asked_for(tmp_path: Path) -> None:
    report = report_of(file_of(tmp_path, FINE, FINE, BLANK), max_rows=2)
    assert (report.total_samples, report.is_valid, report.complete) == (2, True, True)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("max_errors", [1, 3, 4, 7, 100])
@pytest.mark.parametrize("max_rows", [1, 9, 10, None])
def test_limits_fall_at_the_same_row_wherever_blocks_and_processes_end(
    tmp_path: Path, max_errors: int, max_rows: int | None
) -> None:
    rows = [(FINE, FINE, BLANK, UNASKED, FINE, b"{oops", {"text": "x"})[i % 7] for i in range(24)]
    path = file_of(tmp_path, *rows)
    with working_together(validation) as helpers:
        found = [tally_of(path, max_errors=max_errors, max_rows=max_rows, num_processes=n) for n in (1, 3)]
    assert len(helpers) > 1
    assert found[0] == found[1]
    one_block = file_of(tmp_path, *rows[: found[0].num_rows], name="less.jsonl")
    whole = tally_of(one_block, max_errors=100)
    assert found[0].counts == whole.counts
    assert len(found[0].errors) == min(max_errors, sum(map(len, [whole.errors])))


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_damaged_end_does_not_matter_to_who_stops_before_it(
    tmp_path: Path, num_processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl.gz"
    rng = Random(1)
    rows = ({**BLANK, "id": rng.randbytes(300).hex()} for _ in range(4000))
    packed = gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    path.write_bytes(packed[:-4])
    monkeypatch.setattr(validation, "blocks_of", partial(blocks_of, block_bytes=100_000))
    judge = BlockJudge(RowJudge(Layout.OPENAI, True, "text"))
    assert judge_rows((path,), judge, Limits(2), num_processes=num_processes).num_rows == 2
    with pytest.raises(BackpropError) as damage:
        judge_rows((path,), judge, Limits(10_000), num_processes=num_processes)
    assert damage.value.problems[0].code == "INPUT_DATASET_INVALID"


@pytest.mark.parametrize("name", ["rows.json", "rows.csv", "rows.parquet", "rows.txt"])
def test_files_whose_rows_are_no_lines_are_judged_alike(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "rows.json":
        path.write_text(json.dumps([FINE, BLANK], indent=1), "utf-8")
    elif name == "rows.csv":
        path.write_text("instruction,output\n1?,One.\n2?,\n", "utf-8")
    elif name == "rows.parquet":
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({"prompt": ["1?", "2?"], "completion": ["One.", ""]}), path)
    else:
        path.write_text("A line.\nAnother with \x1b[0m colour.\n", "utf-8")
    report = report_of(path)
    assert report.total_samples == 2
    assert len(report.checks) == 1
    assert [f.line is not None for f in (*report.errors, *report.warnings)] == [True]
