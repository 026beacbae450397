"""Lines of JSON from whatever a row holds."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop.effects.files.rows import blocks_of, json_row, written_rows
from backprop.effects.files.rows.json_line import read_json_line_exactly

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


@given(JSON_VALUES)
def test_what_json_holds_is_read_back_as_it_was(value: Any) -> None:
    line = json_row(value)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert read_json_line_exactly("rows.jsonl", 1, line[:-1]).value == value


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_has_not_is_null_at_any_depth(number: float) -> None:
    line = json_row({"a": number, "b": [{"c": (1.5, number)}]})
    assert json.loads(line, parse_constant=refuse) == {"a": None, "b": [{"c": [1.5, None]}]}


def test_dates_are_iso_text_and_other_values_their_own() -> None:
    moment = datetime.datetime(2024, 2, 29, 12, 30)
    row = {"at": moment, "day": moment.date(), "time": moment.time(), "price": decimal.Decimal("1.50")}
    said = {"at": "2024-02-29T12:30:00", "day": "2024-02-29", "time": "12:30:00", "price": "1.50"}
    assert json.loads(json_row(row)) == said
    assert json.loads(json_row({**row, "score": math.nan})) == {**said, "score": None}


def test_rows_of_parquet_are_written_as_json_that_every_reader_takes(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    day = datetime.date(2024, 2, 29)
    parquet.write_table(pyarrow.table({"text": ["a"], "score": [math.nan], "day": [day]}), path)
    (line,) = (line for block in blocks_of(path) for line in written_rows(block))
    assert json.loads(line, parse_constant=refuse) == {"text": "a", "score": None, "day": "2024-02-29"}
