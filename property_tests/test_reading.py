"""Laws of reading rows: the fast way and the exact one agree; how a file is cut or compressed changes no row."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from backprop.effects.files.rows import RawRow, blocks_of, read_rows, rows_of
from backprop.effects.files.rows.json_line import read_json_line, read_json_line_exactly
from backprop.plan.errors import BackpropError
from property_tests.strategies.json_lines import json_lines, json_texts


def exactly(row: RawRow) -> str:
    """Every part of a row, the type of each value told."""
    return repr(row)


@settings(max_examples=1000)
@given(json_lines())
@example(b'{"a":1,"a" :2}')
@example(b'{"a":"\\u0022:","a":1}')
@example(b'{"a\\\\":"x\\\\","a\\\\":1}')
@example(b'{"n":18446744073709551616}')
@example(b"[" * 200 + b"]" * 200)
@example(b"[" * 201 + b"]" * 201)
@example(b'"\\ud83d\\ude00"')
def test_the_fast_reading_of_a_line_is_the_exact_one(line: bytes) -> None:
    assert exactly(read_json_line("a.jsonl", 7, line)) == exactly(read_json_line_exactly("a.jsonl", 7, line))


@given(json_lines())
def test_a_line_is_a_row_or_a_problem_that_names_it_and_a_row_can_be_written_again(line: bytes) -> None:
    row = read_json_line("a.jsonl", 7, line)
    assert (row.where, row.line, row.raw) == ("a.jsonl:7", 7, line)
    if row.problem is None:
        written = json.dumps(row.value, ensure_ascii=False, allow_nan=False).encode("utf-8")
        assert exactly(read_json_line("a.jsonl", 7, written)) == exactly(
            RawRow("a.jsonl:7", row.value, None, 7, written)
        )
    else:
        assert row.value is None
        assert row.problem.message.startswith("a.jsonl:7 ")
        assert row.problem.message.isprintable()


def outcome(path: Path, *, block_bytes: int | None = None) -> list[str] | str:
    """The rows of a file, or why it has none, in which its name does not stand."""
    try:
        if block_bytes is None:
            rows = list(read_rows(path))
        else:
            rows = [row for block in blocks_of(path, block_bytes=block_bytes) for row in rows_of(block)]
    except BackpropError as error:
        return repr(error.problems).replace(str(path), "FILE")
    return [exactly(row).replace(str(path), "FILE") for row in rows]


@given(
    st.lists(json_lines(), max_size=8),
    st.sampled_from((b"\n", b"\r\n")),
    st.sampled_from((".jsonl", ".txt", ".csv", ".json")),
    st.integers(1, 50),
)
@example([b"[" * 16 + b"\0", b"[]"], b"\n", ".jsonl", 16)
def test_how_a_file_is_cut_or_compressed_changes_no_row(
    lines: list[bytes], end: bytes, kind: str, block_bytes: int
) -> None:
    data = end.join(lines)
    with tempfile.TemporaryDirectory() as directory:
        plain, packed = Path(directory, "a" + kind), Path(directory, "a" + kind + ".gz")
        plain.write_bytes(data)
        packed.write_bytes(gzip.compress(data))
        expected = outcome(plain)
        assert outcome(plain, block_bytes=block_bytes) == expected
        if data:
            assert outcome(packed) == expected
            assert outcome(packed, block_bytes=block_bytes) == expected


@given(st.lists(json_texts().filter(lambda text: "\n" not in text and "\r" not in text), min_size=1, max_size=5))
def test_rows_in_a_list_are_the_rows_on_lines(texts: list[str]) -> None:
    lines = [text.encode("utf-8", "surrogatepass") for text in texts]
    rows = [read_json_line_exactly("FILE", number, line) for number, line in enumerate(lines, start=1)]
    if any(row.problem is not None for row in rows):
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "a.json")
        path.write_bytes(b"[" + b",\n".join(lines) + b"]")
        assert [(row.line, repr(row.value)) for row in read_rows(path)] == [(row.line, repr(row.value)) for row in rows]
