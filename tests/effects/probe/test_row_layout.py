"""Every verb tells the same layout from the same first rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from backprop.effects.files.rows import check_file
from backprop.effects.probe.row_layout import ROWS_TO_READ
from backprop.effects.probe.row_source import open_rows
from backprop.effects.probe.validation import BlockJudge, judge_rows, observe_layout
from backprop.plan.data.judge import RowJudge
from backprop.plan.data.layout import Layout
from backprop.plan.data.tally import Limits
from backprop.plan.errors import BackpropError
from backprop.plan.settings.data import RowFormat

ALPACA = json.dumps({"instruction": "1?", "output": "One."})
RAW = json.dumps({"text": "One."})


def told_when_opened(path: Path) -> Layout:
    return open_rows(str(path), format=RowFormat.AUTO, text_column="text", split="train", flag="DATASET").layout


def told_when_judged(path: Path) -> Layout | None:
    return observe_layout((path,), text_column="text").layout


@pytest.mark.parametrize("told", [told_when_opened, told_when_judged])
@pytest.mark.parametrize(
    ("lines", "layout"),
    [
        (["{"] * 30 + [ALPACA], Layout.ALPACA),
        (["{"] * 15 + [RAW] * 5 + [ALPACA] * 15, Layout.ALPACA),
        ([ALPACA] * 12 + [RAW] * 30, Layout.ALPACA),
    ],
)
def test_broken_rows_are_passed_over(
    tmp_path: Path, told: Callable[[Path], Layout], lines: list[str], layout: Layout
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    assert told(path) is layout


def test_it_is_not_looked_for_to_the_end_of_a_file_of_broken_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("{\n" * ROWS_TO_READ + RAW)
    assert told_when_judged(path) is None
    with pytest.raises(BackpropError) as refused:
        told_when_opened(path)
    assert [problem.code for problem in refused.value.problems] == ["INPUT_DATASET_PARSE_FAILED"] * 3


def test_a_file_that_is_replaced_between_telling_and_judging_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(ALPACA)
    stamps = (check_file(path),)
    detection = observe_layout((path,), text_column="text", stamps=stamps)
    path.unlink()
    path.write_text(RAW * 2)
    judge = BlockJudge(RowJudge(detection.layout, True, "text"))
    with pytest.raises(BackpropError) as refused:
        judge_rows((path,), judge, Limits(100), stamps=stamps, num_processes=1)
    assert refused.value.problems[0].code == "INPUT_DATASET_CHANGED"
