"""Files that are made to break a reader, or were broken by something: each has one clear outcome, in bounded memory."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backprop.effects.files.rows import LONGEST_LINE, RawRow, blocks_of, hash_files, lines, read_rows, rows_of
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError, hint_for

ROW = b'{"text": "a row"}\n'
MIB = 1 << 20


def refusal(path: Path) -> Problem:
    with pytest.raises(BackpropError) as refused:
        list(read_rows(path))
    (problem,) = refused.value.problems
    assert hint_for(problem)
    return problem


def messages(rows: Iterator[RawRow]) -> list[str | None]:
    return [row.problem.message if row.problem else None for row in rows]


_MEASURED = """
import resource, sys
from pathlib import Path
from backprop.effects.files.rows import read_rows
from backprop.plan.errors import BackpropError
list(read_rows(Path(sys.argv[2])))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    for row in read_rows(Path(sys.argv[1])):
        print(row.problem.message if row.problem else "a row")
except BackpropError as error:
    print(error.problems[0].message)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def read_apart(path: Path) -> tuple[list[str], int]:
    """(what each row was, MiB that reading took at its peak), in a process of its own."""
    small = path.with_name("small.jsonl")
    small.write_bytes(ROW)
    command = [sys.executable, "-c", _MEASURED, str(path), str(small)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=dict(os.environ))
    *outcomes, peak = done.stdout.splitlines()
    return outcomes, int(peak)


def test_a_line_of_100_mb_is_named_with_its_size_and_the_rows_around_it_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as stream:
        stream.write(ROW + b'{"text": "')
        for _ in range(100):
            stream.write(b"x" * 1_000_000)
        stream.write(b'"}\n' + ROW)
    outcomes, peak = read_apart(path)
    too_long = f"{path}:2 is 100,000,012 bytes long, and no line may be longer than 64 MiB."
    assert outcomes == ["a row", too_long, "a row"]
    assert peak < 100
    assert messages(row for block in blocks_of(path) for row in rows_of(block)) == [None, too_long, None]


@pytest.mark.parametrize("num_bytes", [LONGEST_LINE, LONGEST_LINE + 1])
def test_the_longest_line_is_read_and_one_byte_more_is_not(tmp_path: Path, num_bytes: int) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * num_bytes + b"\nafter")
    first, after = read_rows(path)
    assert (first.problem is None) == (num_bytes == LONGEST_LINE)
    assert (after.value, after.line) == ("after", 2)


@pytest.mark.parametrize("name", ["a.csv", "a.json"])
def test_a_row_of_100_mb_in_another_kind_of_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    begin, end = {"a.csv": (b'text\n"', b'"\nafter\n'), "a.json": (b'[\n{"a": "', b'"}]')}[name]
    with path.open("wb") as stream:
        stream.write(begin)
        for _ in range(100):
            stream.write((b"x" * 999 + b"\n") * 1000 if name == "a.csv" else b"x" * 1_000_000)
        stream.write(end)
    outcomes, peak = read_apart(path)
    assert outcomes[0].startswith(str(path))
    assert "longer than 64 MiB" in outcomes[0] or "field larger than field limit" in outcomes[0]
    assert peak < 600


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_a_bomb_takes_no_more_memory_than_its_longest_line_may(tmp_path: Path, compression: str) -> None:
    path = tmp_path / f"a.jsonl.{compression}"
    if compression == "gz":
        with gzip.open(path, "wb", compresslevel=1) as stream:
            for _ in range(300):
                stream.write(b"x" * MIB)
    else:
        with path.open("wb") as raw, pytest.importorskip("zstandard").ZstdCompressor().stream_writer(raw) as stream:
            for _ in range(300):
                stream.write(b"x" * MIB)
    assert path.stat().st_size < 2 * MIB
    outcomes, peak = read_apart(path)
    assert outcomes == [f"{path}:1 is 314,572,800 bytes long, and no line may be longer than 64 MiB."]
    assert peak < 256


def test_a_line_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_SKIPPED", 80 * MIB)
    path = tmp_path / "a.txt"
    with path.open("wb") as sparse:
        sparse.write(ROW + b"x" * 8192)
        sparse.truncate(1 << 40)
    assert "has a line that does not end within 80 MiB (line 2)" in refusal(path).message


def test_json_nested_ten_thousand_deep_is_one_broken_row(tmp_path: Path) -> None:
    deep = b"[" * 10_000 + b"]" * 10_000
    lines = tmp_path / "a.jsonl"
    lines.write_bytes(ROW + deep + b"\n" + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"\n" + ROW)
    first, lists, objects, last = messages(read_rows(lines))
    assert (first, last) == (None, None)
    assert "it is nested more than 200 deep" in (lists or "")
    assert "it is nested more than 200 deep" in (objects or "")
    whole = tmp_path / "a.json"
    whole.write_bytes(b"[" + deep + b"," + ROW + b"]")
    assert "nested more than 200 deep" in (messages(read_rows(whole))[0] or "")


@pytest.mark.parametrize("depth", [200, 201])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_how_deep_a_row_may_be_depends_on_nothing_else(tmp_path: Path, name: str, depth: int) -> None:
    path = tmp_path / name
    row = b'{"a":' * depth + b"1" + b"}" * depth
    path.write_bytes(row if name == "a.jsonl" else b"[" + row + b"]")
    (row_read,) = read_rows(path)
    assert (row_read.problem is None) == (depth == 200)


def test_rows_beside_a_broken_one_in_a_list_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"a": 1},\n{"a": 1, "a": 2},\n{"a": "\\ud800"},\n{"a": 1e999}, {"a": NaN}]')
    found = list(read_rows(path))
    assert [row.value for row in found] == [{"a": 1}, None, None, None, {"a": None}]
    assert [row.line for row in found] == [1, 2, 3, 4, 4]


@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt"])
def test_utf_16_is_told_with_and_without_its_mark(tmp_path: Path, name: str, encoding: str, mark: bool) -> None:
    path = tmp_path / name
    path.write_bytes((("\ufeff" if mark else "") + '{"text": "Zwölf"}\n').encode(encoding))
    problem = refusal(path)
    assert (problem.message, problem.hint) == (f"{path} is UTF-16 text.", "Save it as UTF-8.")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_a_nul_after_the_first_page_breaks_its_row_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b'{"a":""}\n' * 1000 + b'{"a":"\0"}\n' + b'{"a":""}\n')
    problems = [row.line for row in read_rows(path) if row.problem]
    assert problems == [1001]


def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    os.mkfifo(path)
    problem = refusal(path)
    assert problem.message == f"{path} is a pipe."
    assert problem.hint == "Write it into a file first: data is read more than once."


def test_devices_and_sockets_are_refused(tmp_path: Path) -> None:
    link = tmp_path / "zero.jsonl"
    link.symlink_to("/dev/zero")
    assert refusal(link).message == f"{link} is a device."
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s.jsonl"))
        assert refusal(tmp_path / "s.jsonl").message == f"{tmp_path / 's.jsonl'} is a socket."


def test_links_that_lead_nowhere_or_in_a_circle_are_told_apart_from_missing_files(tmp_path: Path) -> None:
    circle, dangling = tmp_path / "circle.jsonl", tmp_path / "dangling.jsonl"
    circle.symlink_to(circle)
    dangling.symlink_to("gone.jsonl")
    assert refusal(circle).message == f"{circle} cannot be read: Too many levels of symbolic links."
    assert refusal(dangling).message == f"{dangling} is a symbolic link to gone.jsonl, which does not exist."
    assert refusal(dangling).code == "INPUT_DATASET_NOT_FOUND"


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(ROW)
    path.chmod(0)
    if os.access(path, os.R_OK):  # an administrator may read everything

        def denied(self: Path, mode: str) -> None:
            raise PermissionError(13, "Permission denied", f"{self} {mode}")

        monkeypatch.setattr(Path, "open", denied)
    problem = refusal(path)
    assert problem.code == "RUNTIME_PERMISSION_DENIED"
    assert problem.message == f"{path} cannot be read: Permission denied."


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    data = gzip.compress(ROW * 3) if suffix else ROW * 3
    path.write_bytes(data)
    rows = read_rows(path)
    next(rows)
    with path.open("ab") as stream:
        stream.write(data)
    with pytest.raises(BackpropError) as refused:
        list(rows)
    (problem,) = refused.value.problems
    assert (problem.code, problem.message) == ("INPUT_DATASET_CHANGED", f"{path} changed while it was read.")


def test_a_file_that_is_replaced_between_its_cutting_and_its_reading_is_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    path.write_bytes(ROW)
    other.write_bytes(ROW)
    (block,) = blocks_of(path)
    other.replace(path)
    with pytest.raises(BackpropError, match="changed while it was read"):
        list(rows_of(block))


def test_a_fingerprint_is_not_taken_of_a_file_that_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(ROW)
    stats = iter([path.stat()])
    path.write_bytes(ROW * 2)
    monkeypatch.setattr(Path, "stat", lambda _: next(stats))
    with pytest.raises(BackpropError, match="changed while it was read"):
        hash_files((path,))


def test_records_with_other_numbers_of_fields_and_broken_quotes_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,b\n1,2\n3\n4,5,6\n"x"y,7\n\xff,8\n9,10\n')
    found = list(read_rows(path))
    assert [row.value for row in found] == [{"a": "1", "b": "2"}, None, None, None, None, {"a": "9", "b": "10"}]
    assert [row.line for row in found] == [2, 3, 4, 5, 6, 7]
    assert all(row.problem is None or row.problem.message.startswith(f"{row.where} ") for row in found)


def test_a_damaged_parquet_file_is_refused_whatever_is_cut_off(tmp_path: Path) -> None:
    parquet, pyarrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([{"text": f"row {n}"} for n in range(500)]), path)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:100], whole[50:], whole[:4] + b"\xff" * 40 + whole[44:]):
        path.write_bytes(damaged)
        assert "is damaged or cut short" in refusal(path).message


def test_parquet_text_that_is_not_utf_8_breaks_its_row_alone(tmp_path: Path) -> None:
    parquet, pyarrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    binary = pyarrow.array([b"one", b"\xff", b"three"])
    text = pyarrow.Array.from_buffers(pyarrow.string(), 3, binary.buffers())
    parquet.write_table(pyarrow.table({"text": text}), path)
    assert [row.value for row in read_rows(path)] == [{"text": "one"}, None, {"text": "three"}]
    assert 'has a column "text" that cannot be read' in (messages(read_rows(path))[1] or "")


def test_a_message_carries_nothing_that_a_terminal_would_obey(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": \x1b[31m}\n' + json.dumps({"a": 1}).encode())
    message = messages(read_rows(path))[0] or ""
    assert message.isprintable()
    assert message.endswith('is not JSON: Expecting value at column 7: "{"a": \ufffd[31m}".')
