"""One JSON object in a file, or why it is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from backprop.effects.files.json_file import read_object


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_object_is_read_in_every_encoding_that_json_has(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.json").write_text('{"name": "Ä"}', encoding=encoding)
    assert read_object(tmp_path / "a.json") == {"name": "Ä"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON: Expecting value"),
        (b'{"a": 1', "not JSON: Expecting ',' delimiter"),
        (b'{"a": "\xff"}', "not JSON: 'utf-8' codec"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON: Exceeds the limit"),
        (b'{"a": ' + b"[" * 200_000, "nested too deeply"),
        (b"[{}]", "not a JSON object"),
        (b"null", "not a JSON object"),
    ],
)
def test_anything_else_is_a_value_error_in_words(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"^{words}"):
        read_object(tmp_path / "a.json")


def test_a_file_that_is_missing_or_a_directory_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_object(tmp_path / "a.json")
    with pytest.raises(IsADirectoryError):
        read_object(tmp_path)
