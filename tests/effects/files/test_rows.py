from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from backprop.effects.files.rows import RawRow, hash_files, kind_of, read_rows
from backprop.plan.data.check import Check
from backprop.plan.errors import BackpropError

ROWS = [{"text": 'one, "two"\nthree'}, {"text": "Zwölf; 你好"}, {"text": " 🎉"}]


def written(directory: Path, name: str, data: bytes | str) -> Path:
    path = directory / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def values(path: Path) -> list[Any]:
    rows = list(read_rows(path))
    assert all(row.problem is None for row in rows), rows
    return [row.value for row in rows]


def problem_of(row: RawRow) -> tuple[str, str]:
    assert row.problem is not None, row
    return row.problem.code, row.problem.message


def refusal(path: Path) -> tuple[str, str]:
    with pytest.raises(BackpropError) as refused:
        list(read_rows(path))
    problem = refused.value.problems[0]
    return problem.code, problem.message + " " + problem.hint


def as_jsonl() -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS)


def as_parquet() -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), sink)
    return bytes(sink.getvalue())


KINDS = {
    ".jsonl": as_jsonl,
    ".json": lambda: json.dumps(ROWS, indent=1).encode(),
    ".csv": 'text\r\n"one, ""two""\nthree"\r\n"Zwölf; 你好"\r\n 🎉\r\n'.encode,
    ".parquet": as_parquet,
}


@pytest.mark.parametrize("compression", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_holds_the_same_rows_compressed_or_not(tmp_path: Path, kind: str, compression: str) -> None:
    data = KINDS[kind]()
    if compression == ".gz":
        data = gzip.compress(data[:20]) + gzip.compress(data[20:])
    elif compression == ".zst":
        compressor = pytest.importorskip("zstandard").ZstdCompressor()
        data = compressor.compress(data[:20]) + compressor.compress(data[20:])
    path = written(tmp_path, "rows" + kind + compression, data)
    assert kind_of(path) == kind
    assert values(path) == ROWS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bom.jsonl", "\ufeff" + '{"text": "x"}\n'),
        ("crlf.jsonl", '{"text": "x"}\r\n\r\n  \r\n'),
        ("bare.ndjson", '{"text": "x"}'),
        ("object.json", '{"text": "x"}'),
        ("held.json", '{"version": 1, "data": [{"text": "x"}]}'),
        ("bom.json", "\ufeff" + '[ {"text": "x"} ]'),
        ("semicolons.csv", "text;other\nx;\n"),
        ("tabs.tsv", "text\tother\nx\t\n\n"),
        ("bom.csv", "\ufeff" + "text\nx\n"),
    ],
)
def test_one_row_is_read_however_it_is_written(tmp_path: Path, name: str, text: str) -> None:
    assert values(written(tmp_path, name, text)) == [{"text": "x"}]


def test_text_files_hold_a_row_a_line(tmp_path: Path) -> None:
    assert values(written(tmp_path, "a.txt", "\ufeffone\r\n\n \ntwo \n")) == ["one", "two "]


def test_objects_one_after_the_other_are_rows_of_a_json_file(tmp_path: Path) -> None:
    assert values(written(tmp_path, "a.json", '{"a": 1}\n{"a": 2}\n')) == [{"a": 1}, {"a": 2}]


def test_what_is_no_number_is_no_value(tmp_path: Path) -> None:
    assert values(written(tmp_path, "a.jsonl", '{"a": NaN, "b": -Infinity}')) == [{"a": None, "b": None}]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"text": "x"', "is not JSON: Expecting ',' delimiter at column"),
        (b'{"text": "\xff"}', "is not UTF-8 text (byte 11)"),
        (b'{"a": 1, "b": 2, "a": 3}', 'the key "a" stands twice in one object: "{"a": 1, "b": 2, "a": 3}".'),
        (b'{"a": "\\ud800"}', "\\ud800 is half of a surrogate pair"),
        (b'{"a": 1e999}', "the number 1e999 is too large"),
        (b'{"a": "\0"}', "Invalid control character at column 8"),
        (b"[" * 100_000, "it is nested more than 200 deep"),
        (b'{"n": ' + b"9" * 5000 + b"}", "cannot be used"),
    ],
)
def test_a_broken_line_is_named_and_the_others_are_read(tmp_path: Path, line: bytes, words: str) -> None:
    path = written(tmp_path, "a.jsonl", b'{"text": "x"}\n\n' + line + b'\n{"text": "y"}\n')
    first, broken, last = read_rows(path)
    code, message = problem_of(broken)
    assert code == "INPUT_DATASET_PARSE_FAILED"
    assert message.startswith(f"{path}:3 ")
    assert words in message
    assert (first.value, last.value) == ({"text": "x"}, {"text": "y"})
    assert last.where == f"{path}:4"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[\n{"a": 1},\n{"a": }\n]', 3, "is not JSON"),
        ('[\n{"a": 1}\n{"a": 2}]', 2, "followed by neither"),
        ('[\n{"a": 1},\n{"a": 2}', 3, "followed by neither"),
        ('[\n{"a": 1},\n{"a": 2, "a": 3}\n]', 3, 'the key "a" stands twice'),
    ],
)
def test_a_break_in_a_json_file_is_named_by_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = written(tmp_path, "a.json", text)
    *_, broken = read_rows(path)
    assert problem_of(broken)[1].startswith(f"{path}:{line} ")
    assert words in problem_of(broken)[1]


def test_a_record_with_too_few_fields_is_named_by_the_line_it_begins_in(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", 'a,b\n"1\n1",2\n3\n4,5\n')
    rows = list(read_rows(path))
    assert [row.value for row in rows] == [{"a": "1\n1", "b": "2"}, None, {"a": "4", "b": "5"}]
    assert problem_of(rows[1])[1] == f"{path}:4 has 1 fields, the header 2."


def test_an_open_quote_is_named_by_the_line_it_begins_in(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", 'a,b\n1,2\n"3,4\n5,6\n')
    *_, broken = read_rows(path)
    assert problem_of(broken)[1].startswith(f"{path}:3 is not CSV")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("empty.jsonl", b"", "is empty"),
        ("blank.jsonl", b"\n \n", "has no rows"),
        ("list.json", b"[]", "has no rows"),
        ("header.csv", b"a,b\n", "has no rows"),
        ("twice.csv", b"a,,b,,a\n1,2,3,4,5\n", 'has two columns "a"'),
        ("wide.jsonl", '{"text": "x"}'.encode("utf-16"), "is UTF-16 text. Save it as UTF-8."),
        ("wide.json", '{"text": "x"}'.encode("utf-16"), "is UTF-16 text. Save it as UTF-8."),
        ("wide.csv", "text\nx".encode("utf-16"), "is UTF-16 text. Save it as UTF-8."),
        ("binary.jsonl", b"PK\x03\x04\0\0", "is not text"),
        ("cut.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-9], "is damaged or cut short"),
        ("plain.jsonl.gz", b'{"a": 1}\n', "is damaged or cut short"),
        ("plain.jsonl.zst", b'{"a": 1}\n', "is damaged or cut short"),
        ("plain.parquet", b'{"a": 1}\n', "is damaged or cut short"),
    ],
)
def test_a_file_without_rows_to_read_is_refused_by_name(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    path = written(tmp_path, name, data)
    code, message = refusal(path)
    assert code == "INPUT_DATASET_INVALID"
    assert message.startswith(str(path))
    assert words in message


def test_bytes_that_are_no_text_are_named_by_their_line(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", b'[\n{"a": "\xff"}]')
    assert refusal(path) == ("INPUT_DATASET_PARSE_FAILED", f"{path}:2 is not UTF-8 text. Save the file as UTF-8.")


def test_a_zstandard_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    packed = pytest.importorskip("zstandard").ZstdCompressor().compress(as_jsonl())
    assert "cut short" in refusal(written(tmp_path, "a.jsonl.zst", packed[:-4]))[1]


def test_a_directory_a_missing_file_and_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").mkdir()
    for directory in (tmp_path, tmp_path / "d.jsonl"):
        message = f"{directory} is a directory. Name a file inside it."
        assert refusal(directory) == ("INPUT_DATASET_INVALID", message)
    assert refusal(tmp_path / "none.jsonl")[0] == "INPUT_DATASET_NOT_FOUND"
    assert refusal(written(tmp_path, "a.xlsx", b"x"))[0] == "INPUT_DATASET_FORMAT_UNSUPPORTED"


def test_a_long_line_is_read(tmp_path: Path) -> None:
    text = "x" * 5_000_000
    assert values(written(tmp_path, "a.jsonl", json.dumps({"text": text}))) == [{"text": text}]
    assert values(written(tmp_path, "a.csv", f"text\n{text}\n")) == [{"text": text}]


def test_the_fingerprint_is_of_the_bytes_of_all_files(tmp_path: Path) -> None:
    a, b, both = (written(tmp_path, n, d) for n, d in (("a", b"one"), ("b", b"two"), ("ab", b"onetwo")))
    assert hash_files((a, b)) == hash_files((both,))
    assert hash_files((a,)) != hash_files((b,))
    assert hash_files((both,))[1] == 6


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a": 2},\n{"a": 3}]', '{"rows": [{"a": 1}, {"a": 2}, {"a": 3}]}'])
def test_rows_of_json_are_numbered_since_a_line_may_hold_several(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, "a.json", text)
    found = list(read_rows(path))
    assert [row.row for row in found] == [1, 2, 3]
    assert [row.where for row in found] == [f"{path}:{row.line} (row {row.row})" for row in found]


def test_a_mistake_has_the_number_of_its_row(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", '[{"a": 1}, {"a": nope}]')
    assert [row.where for row in read_rows(path)] == [f"{path}:1 (row 1)", f"{path}:1 (row 2)"]


def test_fields_of_tsv_are_parted_by_tabs_whatever_else_the_header_has(tmp_path: Path) -> None:
    data = "text, as it was,n\tother\na\tb\n"
    assert values(written(tmp_path, "rows.tsv", data)) == [{"text, as it was,n": "a", "other": "b"}]
    assert values(written(tmp_path, "one.tsv.gz", gzip.compress(b"a,b\nc,d\n"))) == [{"a,b": "c,d"}]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.txt", "rows.csv"])
def test_a_row_that_is_no_utf_8_says_which_check_it_fails(tmp_path: Path, name: str) -> None:
    *_, row = read_rows(written(tmp_path, name, b"{}\ncaf\xe9\n"))
    assert (row.check, problem_of(row)[0]) == (Check.ENCODING, "INPUT_DATASET_PARSE_FAILED")


def test_a_link_to_nothing_is_named_as_it_was_given(tmp_path: Path) -> None:
    link = tmp_path / "rows.jsonl"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(BackpropError) as refused:
        list(read_rows(link))
    assert refused.value.problems[0].where == str(link)
