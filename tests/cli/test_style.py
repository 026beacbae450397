"""Widths, colours, tables and sparklines."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backprop.cli.style import Style, printable, style_for, visible_width

CELLS = st.text(st.sampled_from("ab é漢字😀e\u0301"), max_size=30)


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "width"),
    [("abc", 3), ("漢字", 4), ("e\u0301", 1), ("\x1b[31mred\x1b[0m", 3), ("\x1b[1m漢\x1b[0m!", 3), ("", 0)],
)
def test_width_counts_columns_not_characters(text: str, width: int) -> None:
    assert visible_width(text) == width


@given(st.text())
def test_printable_text_cannot_control_the_terminal(text: str) -> None:
    shown = printable(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown if c not in "\n\t")
    assert printable(shown) == shown


def test_control_characters_are_written_out() -> None:
    assert printable("a\x1b[2J\r\x07\tb\n\udcff") == "a\\x1b[2J\\x0d\\x07\tb\n\\xdcff"


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=4), st.booleans())
def test_the_columns_of_a_table_begin_at_the_same_place_in_every_row(rows: list[tuple[str, ...]], colour: bool) -> None:
    style = Style(colour=colour, width=200)
    lines = style.table([(style.cyan(a), b, f"|{c}") for a, b, c in rows]).splitlines()
    assert len(lines) == len(rows)
    assert len({visible_width(line[: line.index("|")]) for line in lines}) == 1


@given(st.lists(st.sampled_from(["a", "bb", "漢字", "word", "é"]), max_size=60), st.integers(40, 90))
def test_the_last_column_wraps_within_the_width_and_loses_no_word(words: list[str], width: int) -> None:
    text = Style(width=width).table([("name", " ".join(words))], indent=2)
    assert all(visible_width(line) <= width for line in text.splitlines())
    assert text.split() == ["name", *words]


def test_colour_around_a_wrapped_cell_is_around_each_line() -> None:
    style = Style(colour=True, width=40)
    lines = style.table([("n", style.red("word " * 20))]).splitlines()
    assert len(lines) > 1
    assert all(line.count("\x1b[31m") == line.count("\x1b[0m") == 1 for line in lines)


def test_numbers_align_to_the_right_under_a_bold_header() -> None:
    text = Style(colour=True).table([("a", "1", "x"), ("b", "100", "y")], header=("k", "n", "t"), right=(1,))
    assert text.splitlines()[1:] == ["a    1  x", "b  100  y"]
    assert text.splitlines()[0].startswith("\x1b[1mk\x1b[0m")


def test_no_rows_are_no_table() -> None:
    assert Style().table([]) == ""


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=200), st.booleans())
def test_a_sparkline_is_one_line_within_its_width(values: list[float], unicode: bool) -> None:
    line = Style(unicode=unicode).sparkline(values, width=40)
    assert len(line) <= 40
    assert line.isascii() or unicode


def test_a_falling_loss_falls() -> None:
    assert Style().sparkline([4, 3, 2, 1]) == "█▆▃▁"
    assert Style().sparkline([1, 1]) == "▁▁"


@pytest.mark.parametrize(
    ("stream", "environ", "colour"),
    [
        (Tty(), {}, True),
        (Tty(), {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (Tty(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "0"}, False),
    ],
)
def test_colour_is_for_terminals_unless_the_user_says(
    stream: io.StringIO, environ: dict[str, str], colour: bool
) -> None:
    assert style_for(stream, environ=environ, columns=80, encoding="utf-8").colour is colour


def test_width_follows_the_terminal_within_reason() -> None:
    widths = [style_for(Tty(), environ={}, columns=c, encoding="ascii").width for c in (10, 80, 500)]
    assert widths == [40, 80, 120]
    assert style_for(Tty(), environ={"COLUMNS": "200"}, columns=200, encoding="ascii").width == 200


def test_nothing_is_wrapped_for_a_pipe() -> None:
    style = style_for(io.StringIO(), environ={"COLUMNS": "60"}, columns=60, encoding="utf-8")
    assert style.wrap("word " * 500).count("\n") == 0
    assert style.table([("name", "word " * 500)]).count("\n") == 0


def test_the_encoding_decides_on_the_characters() -> None:
    assert not style_for(Tty(), environ={}, columns=80, encoding="latin-1").unicode
