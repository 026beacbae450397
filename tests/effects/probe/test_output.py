"""An output directory that cannot be used is found out without writing, in the words of the write that would fail."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backprop.effects.files.atomic import make_directory
from backprop.effects.probe.output import observe_output
from backprop.plan.errors import BackpropError


def test_a_directory_that_is_there_or_can_be_made_will_do_and_is_not_made(tmp_path: Path) -> None:
    assert observe_output(str(tmp_path)) is None
    assert observe_output(str(tmp_path / "new" / "deep")) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("inside", ["", "below/it"])
def test_a_file_in_the_way_is_told_as_the_write_would_tell_it(tmp_path: Path, inside: str) -> None:
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / inside
    seen = observe_output(str(output))
    assert seen is not None
    with pytest.raises(BackpropError) as refused:
        make_directory(output)
    assert seen.problem == refused.value.problems[0]
    assert seen.problem.code == "INPUT_PATH_UNUSABLE"


@pytest.mark.parametrize("name", ["", "runs"])
def test_a_directory_without_permission_is_told(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = tmp_path / name
    denied.mkdir(exist_ok=True)
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != denied and allowed(path, mode))
    seen = observe_output(str(tmp_path))
    assert seen is not None
    assert seen.problem.code == "INPUT_PATH_UNUSABLE"
    assert "Permission denied" in seen.problem.message


def test_a_link_that_leads_nowhere_and_a_name_too_long_are_told(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for name in ("link", "x" * 300):
        seen = observe_output(str(tmp_path / name))
        assert seen is not None
        assert seen.problem.code == "INPUT_PATH_UNUSABLE"
