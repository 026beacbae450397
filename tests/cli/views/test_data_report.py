"""``data report`` as a person reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backprop import DataReport, analyze_dataset
from backprop.cli.style import Style, visible_width
from backprop.cli.views.data_report import show

PLAIN = Style(width=120)


def chat(asked: str, answered: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]}


def report_of(path: Path, rows: list[Any], **asked: Any) -> DataReport:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return analyze_dataset(path, **asked)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> DataReport:
    rows = [chat(f"question {i}", f"answer number {i} " * (i + 3)) for i in range(30)]
    rows += [chat("same", "same again here")] * 20 + [chat("hi", "")] * 3 + [chat("long", "word " * 9000)]
    rows += [chat("ann@example.org", "\x1b[31m <think>hm</think> yes"), {"instruction": "a", "output": "b"}]
    path = tmp_path_factory.mktemp("data") / "bad.jsonl"
    return report_of(path, rows, fail_on_dups=0.1, against=path)


def test_the_verdict_and_why_come_first(bad: DataReport) -> None:
    lines = show(bad, PLAIN).splitlines()
    assert lines[0] == f"FAIL: {bad.dataset}, 56 rows"
    assert "--fail-on-dups" in lines[1]


def test_rates_that_are_past_a_limit_say_what_to_do(bad: DataReport) -> None:
    table = show(bad, PLAIN).split("\n\n")[1]
    assert "duplicates" in table
    assert "more than 10%. Remove them with `backprop data dedupe`." in table
    assert "contamination  100.00%  FAIL" in table


def test_lengths_are_drawn_and_the_longest_bar_is_full(bad: DataReport) -> None:
    text = show(bad, PLAIN)
    assert "estimate" in text
    bars = [line for line in text.splitlines() if "█" in line or "▏" in line]
    assert max(line.count("█") for line in bars) == 30
    assert sum(int(line.split()[-1].replace(",", "")) for line in bars) == bad.parseable_rows
    ascii_bars = show(bad, Style(width=120, unicode=False))
    assert "█" not in ascii_bars
    assert "#" * 30 in ascii_bars


def test_what_is_worst_has_its_places(bad: DataReport) -> None:
    text = show(bad, PLAIN)
    for line in (51, 54, 56):
        assert f"{bad.dataset}:{line}" in text
    assert "mixed: openai 55, alpaca 1" in text
    assert "e-mail address" in text
    assert "ann@" not in text


def test_data_cannot_move_the_cursor(bad: DataReport) -> None:
    assert "\x1b" not in show(bad, PLAIN)


def test_a_good_data_set_is_told_in_few_lines(tmp_path: Path) -> None:
    numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    rows = [chat(f"What is {a}?", f"The number {a}, {b} is not") for a in numbers for b in numbers if a != b]
    report = report_of(tmp_path / "good.jsonl", rows)
    text = show(report, PLAIN)
    assert text.startswith("PASS: ")
    assert text.count("PASS") == 5
    assert len(text.splitlines()) < 16


@pytest.mark.parametrize("width", [40, 80])
def test_tables_keep_to_a_narrow_terminal(bad: DataReport, width: int) -> None:
    rates = show(bad, Style(width=width)).split("\n\n")[1]
    assert max(map(visible_width, rates.splitlines())) <= max(width, 60)


def test_a_file_without_a_readable_row_is_told_too(tmp_path: Path) -> None:
    text = show(report_of(tmp_path / "none.jsonl", [{"foo": 1}]), PLAIN)
    assert text.startswith("FAIL: ")
    assert "1 row, 1 of them not read" in text
    assert "no row can be read" in text


@pytest.mark.parametrize(
    ("limit", "told"), [(0.005, "more than 0.5%."), (0.07, "more than 7%."), (0.0, "more than 0%.")]
)
def test_a_limit_is_shown_as_it_was_set(tmp_path: Path, limit: float, told: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "One row that stands twice."}\n' * 2)
    assert told in show(analyze_dataset(path, fail_on_dups=limit), Style())
