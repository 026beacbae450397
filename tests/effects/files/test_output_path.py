"""Paths at which no file can be written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from backprop.effects.files.output_path import check_output, special_kind
from backprop.plan.errors import BackpropError


def refusal(path: Path, *, dataset: tuple[Path, ...] = (), written: tuple[Path, ...] = ()) -> str:
    with pytest.raises(BackpropError) as error:
        check_output(path, flag="--out", dataset=dataset, written=written)
    (problem,) = error.value.problems
    assert (problem.code, problem.where) == ("INPUT_VALIDATION_FAILED", "--out")
    assert "--out" in problem.hint
    return problem.message


def test_a_new_file_an_old_one_and_one_in_folders_to_be_made_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    (tmp_path / "nowhere").symlink_to("new")
    for name in ("new", "old", "nowhere", "a/b/c"):
        check_output(tmp_path / name, flag="--out", dataset=(tmp_path / "rows.jsonl",))
    assert not (tmp_path / "a").exists()


def test_a_file_in_use_is_known_through_links(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.touch()
    (tmp_path / "link").symlink_to("rows.jsonl")
    assert "is the data set itself" in refusal(tmp_path / "link", dataset=(rows,))
    assert "is another of the files" in refusal(rows, written=(tmp_path / "link",))


@pytest.mark.parametrize(
    ("kind", "name"),
    [(stat.S_IFCHR, "a device"), (stat.S_IFBLK, "a device"), (stat.S_IFSOCK, "a socket"), (stat.S_IFIFO, "a pipe")],
)
def test_what_is_no_file_is_told_by_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int, name: str
) -> None:
    found = os.stat_result((kind | 0o666, *(0,) * 9))
    monkeypatch.setattr(Path, "stat", lambda *_, **__: found)
    assert special_kind(tmp_path / "thing") == name
    assert f"is {name}, not a file" in refusal(tmp_path / "thing")


def test_a_folder_that_must_not_be_written_in_is_told_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    assert f"no permission to write in {tmp_path}" in refusal(tmp_path / "deep" / "new")


def test_a_path_that_cannot_be_looked_up_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    assert "cannot be written: Too many levels" in refusal(tmp_path / "circle")


def test_the_file_that_the_output_goes_to_is_not_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "said").open("w") as said:
        monkeypatch.setattr("backprop.effects.files.output_path._STREAMS", (said.fileno(),))
        assert "is where the output of this command goes" in refusal(tmp_path / "said")
