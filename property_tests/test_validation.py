"""Laws of validation: nothing is found where nothing is wrong, and how the work is done changes nothing."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.effects.processes.together import working_together

from backprop.effects.files.rows import blocks_of, rows_of
from backprop.effects.probe import validation
from backprop.effects.probe.validation import BlockJudge, judge_block, judge_rows
from backprop.plan.data.certain import is_plain_line, is_usual_row
from backprop.plan.data.judge import RowJudge
from backprop.plan.data.layout import Layout
from backprop.plan.data.tally import Limits, Tally
from property_tests.strategies.rows import any_rows, valid_rows

EVERY = pytest.mark.parametrize("layout", list(Layout))
ALL = Limits(10_000)


def line_of(row: Any, *, ascii: bool) -> bytes:
    text = json.dumps(row, ensure_ascii=ascii)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a pair can only be escaped
        return json.dumps(row).encode()


def judge_of(layout: Layout, *, is_told: bool = True) -> RowJudge:
    return RowJudge(layout, is_told, "text")


@EVERY
@given(data=st.data())
def test_nothing_is_found_in_a_row_that_was_built_to_be_valid(layout: Layout, data: st.DataObject) -> None:
    row = data.draw(valid_rows(layout))
    assert judge_of(layout).judge(row, where="x:1", line=1).findings == ()


@EVERY
@settings(max_examples=200)
@given(data=st.data())
def test_a_row_that_is_certainly_fine_has_no_finding(layout: Layout, data: st.DataObject) -> None:
    row, ascii = data.draw(any_rows(layout)), data.draw(st.booleans())
    line = line_of(row, ascii=ascii)
    parsed = json.loads(line)
    if is_plain_line(line) and is_usual_row(parsed, layout, text_column="text"):
        judged = judge_of(layout).judge(parsed, where="x:1", line=1)
        assert (judged.findings, judged.layout) == ((), None)


@EVERY
@given(data=st.data())
def test_any_row_is_judged_without_an_exception(layout: Layout, data: st.DataObject) -> None:
    row = data.draw(any_rows(data.draw(st.sampled_from(Layout))))
    for finding in judge_of(layout, is_told=data.draw(st.booleans())).judge(row, where="x:1", line=1).findings:
        assert finding.message
        assert "\n" not in finding.excerpt


_FILES = st.sampled_from(Layout).flatmap(
    lambda layout: st.tuples(st.just(layout), st.lists(any_rows(layout) | valid_rows(layout), min_size=1, max_size=12))
)


def written(directory: str, rows: list[Any]) -> Path:
    path = Path(directory) / "rows.jsonl"
    path.write_bytes(b"".join(line_of(row, ascii=False) + b"\n" for row in rows))
    return path


def judged(path: Path, layout: Layout, limits: Limits, *, block_bytes: int, num_processes: int = 1) -> Tally:
    with patch.object(validation, "blocks_of", partial(blocks_of, block_bytes=block_bytes)):
        return judge_rows((path,), BlockJudge(judge_of(layout)), limits, num_processes=num_processes)


_NO_USER, _NO_ANSWER = {"instruction": "", "output": "yes"}, {"instruction": "A", "output": ""}


@settings(deadline=None)
@given(_FILES, st.integers(1, 500), st.integers(1, 12), st.none() | st.integers(1, 12))
@example((Layout.ALPACA, [{**_NO_ANSWER, "input": "A" * 99}, _NO_USER, _NO_USER, _NO_ANSWER]), 150, 2, None)
def test_findings_do_not_depend_on_the_blocks(
    file: tuple[Layout, list[Any]], block_bytes: int, max_errors: int, max_rows: int | None
) -> None:
    layout, rows = file
    limits = Limits(max_errors, max_rows)
    with TemporaryDirectory() as directory:
        path = written(directory, rows)
        whole = judged(path, layout, limits, block_bytes=1 << 20)
        assert judged(path, layout, limits, block_bytes=block_bytes) == whole


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_FILES, st.integers(2, 4), st.integers(1, 12))
def test_findings_do_not_depend_on_the_number_of_processes(
    file: tuple[Layout, list[Any]], num_processes: int, max_errors: int
) -> None:
    layout, rows = file
    with TemporaryDirectory() as directory:
        path = written(directory, rows)
        alone = judged(path, layout, Limits(max_errors), block_bytes=100)
        num_blocks = sum(1 for _ in blocks_of(path, block_bytes=100))
        with working_together(validation) as helpers:
            assert judged(path, layout, Limits(max_errors), block_bytes=100, num_processes=num_processes) == alone
        assert (len(helpers) > 1) == (num_blocks > 1)


@settings(deadline=None)
@given(_FILES, st.randoms(use_true_random=False))
def test_shuffling_rows_keeps_the_counts(file: tuple[Layout, list[Any]], random: Random) -> None:
    layout, rows = file
    with TemporaryDirectory() as directory:
        before = judged(written(directory, rows), layout, ALL, block_bytes=1 << 20)
        random.shuffle(rows)
        after = judged(written(directory, rows), layout, ALL, block_bytes=1 << 20)
    for part in ("num_rows", "num_error_rows", "counts", "layouts", "labels"):
        assert getattr(before, part) == getattr(after, part)


@settings(deadline=None)
@given(_FILES)
@example((Layout.RAW, [{"text": "\u00e9 \x1b"}]))
@example((Layout.RAW, [{"text": "[INST]"}]))
def test_the_quick_way_finds_what_the_exact_way_finds(file: tuple[Layout, list[Any]]) -> None:
    layout, rows = file
    judge = judge_of(layout)
    with TemporaryDirectory() as directory:
        (block,) = blocks_of(written(directory, rows))
        quick = judge_block(block, judge=BlockJudge(judge), limits=ALL)
        exact = Tally(ALL)
        for row in rows_of(block):
            exact.add(() if row.problem else judge.judge(row.value, where=row.where, line=row.line).findings)
        unreadable = sum(row.problem is not None for row in rows_of(block))
    assert quick.num_rows == exact.num_rows
    assert quick.counts.total() == exact.counts.total() + unreadable
