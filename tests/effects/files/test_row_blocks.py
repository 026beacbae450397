from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import pytest

from backprop.effects.files.rows import FileRange, HeldLines, HeldRows, blocks_of, lines_of, read_rows, rows_of

LINES = [b"\xef\xbb\xbf" + b'{"a": 0}\r', b"", b"  ", *(json.dumps({"a": n}).encode() for n in range(1, 40)), b"{"]
TEXT = b"\n".join(LINES)


def files(directory: Path) -> dict[str, Path]:
    data = {
        "a.jsonl": TEXT,
        "b.jsonl": TEXT + b"\n",
        "c.txt": TEXT,
        "d.jsonl.gz": gzip.compress(TEXT),
        "e.json": json.dumps([{"a": n} for n in range(40)], indent=1).encode(),
        "f.csv": b"a\n" + b"\n".join(str(n).encode() for n in range(40)),
    }
    for name, held in data.items():
        (directory / name).write_bytes(held)
    return {name: directory / name for name in data}


@pytest.mark.parametrize("block_bytes", [1, 7, 8, 9, 64, 1 << 20])
def test_the_rows_of_a_files_blocks_are_the_rows_of_the_file_however_it_is_cut(
    tmp_path: Path, block_bytes: int
) -> None:
    for path in files(tmp_path).values():
        blocks = [pickle.loads(pickle.dumps(block)) for block in blocks_of(path, block_bytes=block_bytes)]
        assert [row for block in blocks for row in rows_of(block)] == list(read_rows(path))
        assert block_bytes > 1000 or len(blocks) > 1


def test_a_plain_file_of_lines_is_sent_as_ranges_and_others_as_what_they_hold(tmp_path: Path) -> None:
    kinds = {name: {type(block) for block in blocks_of(path)} for name, path in files(tmp_path).items()}
    assert kinds == {
        "a.jsonl": {FileRange},
        "b.jsonl": {FileRange},
        "c.txt": {FileRange},
        "d.jsonl.gz": {HeldLines},
        "e.json": {HeldRows},
        "f.csv": {HeldRows},
    }


def test_rows_of_lines_carry_their_line_as_it_stands_without_its_end(tmp_path: Path) -> None:
    path = files(tmp_path)["a.jsonl"]
    expected = [
        (n, line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r")) for n, line in enumerate(LINES, 1) if line.strip()
    ]
    assert [(row.line, row.raw) for row in read_rows(path)] == expected
    assert [line for block in blocks_of(path, block_bytes=16) for line in lines_of(block)] == expected


def test_rows_of_other_kinds_say_the_line_they_begin_in_and_have_no_lines(tmp_path: Path) -> None:
    path = files(tmp_path)["f.csv"]
    assert [(row.line, row.raw) for row in read_rows(path)] == [(n, None) for n in range(2, 42)]
    assert [line for block in blocks_of(path) for line in lines_of(block)] == []
