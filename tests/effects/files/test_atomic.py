from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from backprop.effects.files.atomic import (
    make_directory,
    remove_directory,
    replace_directory,
    replacing_all,
    set_aside,
    sweep_partials,
    write_atomic,
)
from backprop.plan.errors import BackpropError
from tests.effects.children import fork, in_child, kill, wait_for


def code_of(error: pytest.ExceptionInfo[BackpropError]) -> str:
    return error.value.problems[0].code


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def make_tree(directory: Path, text: str) -> Path:
    (directory / "inner").mkdir(parents=True)
    (directory / "a.txt").write_text(text)
    (directory / "inner" / "b.txt").write_text(text)
    return directory


def test_text_and_bytes_are_written_whole_with_the_parents_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    write_atomic(path, "grüße\n")
    assert path.read_bytes() == "grüße\n".encode()
    write_atomic(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert names_in(path.parent) == ["file.json"]


def test_an_existing_mode_is_kept_and_a_new_file_has_the_usual_one(tmp_path: Path) -> None:
    secret, plain = tmp_path / "secret", tmp_path / "plain"
    secret.touch(mode=0o600)
    plain.touch()
    usual = stat.S_IMODE(plain.stat().st_mode)
    plain.unlink()
    write_atomic(secret, "x")
    write_atomic(plain, "x")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(plain.stat().st_mode) == usual


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_file_too_large_for_the_system_is_a_full_disk_and_the_former_one_stands(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "former")

    def overfill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with pytest.raises(BackpropError) as error:
            write_atomic(path, "x" * 5000)
        assert code_of(error) == "RUNTIME_DISK_FULL"

    assert in_child(overfill)
    assert path.read_text() == "former"
    assert names_in(tmp_path) == ["file"]


def test_of_several_files_the_one_that_fails_is_named_and_all_former_ones_stand(tmp_path: Path) -> None:
    paths = [tmp_path / "first", tmp_path / "second"]
    for path in paths:
        path.write_text("former")

    def overfill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with pytest.raises(BackpropError) as error, replacing_all(paths) as streams:
            streams[1].write(b"x" * 5000)
        assert code_of(error) == "RUNTIME_DISK_FULL"
        assert error.value.problems[0].where == str(paths[1])

    assert in_child(overfill)
    assert [path.read_text() for path in paths] == ["former", "former"]
    assert names_in(tmp_path) == ["first", "second"]


def test_an_error_of_the_writer_leaves_the_former_file_and_is_passed_on(tmp_path: Path) -> None:
    def lines() -> Iterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    (tmp_path / "file").write_text("former")
    with pytest.raises(ZeroDivisionError), replacing_all([tmp_path / "file"]) as (stream,):
        stream.writelines(lines())
    assert (tmp_path / "file").read_text() == "former"
    assert names_in(tmp_path) == ["file"]


def test_a_pipe_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path in (tmp_path / "pipe", tmp_path / "link"):
        with pytest.raises(BackpropError, match="is a pipe, not a file"):
            write_atomic(path, "x")
        with pytest.raises(BackpropError, match="is a pipe, not a file"), replacing_all([path]):
            raise AssertionError("a pipe was opened")
    assert (tmp_path / "pipe").is_fifo()
    assert names_in(tmp_path) == ["link", "pipe"]


def test_a_parent_that_is_a_file_is_an_unusable_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackpropError) as error:
        write_atomic(tmp_path / "file" / "inner", "x")
    assert code_of(error) == "INPUT_PATH_UNUSABLE"
    assert str(tmp_path / "file" / "inner") in error.value.problems[0].message


def test_a_directory_without_permission_is_an_unusable_path(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(0o755)

    def write() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)
        with pytest.raises(BackpropError) as error:
            write_atomic(closed / "file", "x")
        assert code_of(error) == "INPUT_PATH_UNUSABLE"

    assert in_child(write)


def test_kills_in_the_middle_of_writing_leave_the_one_or_the_other(tmp_path: Path) -> None:
    path, contents = tmp_path / "file", {letter * 300_000 for letter in "ab"}

    def write_forever() -> None:
        while True:
            for content in sorted(contents):
                write_atomic(path, content)

    for milliseconds in range(12):
        path.unlink(missing_ok=True)
        child = fork(write_forever)
        wait_for(path)
        kill(child, after_seconds=milliseconds / 1000)
        assert path.read_text() in contents
    sweep_partials(tmp_path)
    assert names_in(tmp_path) == ["file"]


def test_a_directory_takes_the_place_of_another(tmp_path: Path) -> None:
    final = make_tree(tmp_path / "adapter", "old")
    replace_directory(make_tree(tmp_path / ".partial-adapter", "new"), final)
    assert (final / "inner" / "b.txt").read_text() == "new"
    assert names_in(tmp_path) == ["adapter"]


def test_a_replacement_that_was_cut_off_puts_the_former_directory_back(tmp_path: Path) -> None:
    make_tree(tmp_path / ".replaced-adapter", "old")
    make_tree(tmp_path / ".partial-adapter", "new")
    assert sweep_partials(tmp_path) == (".partial-adapter", ".replaced-adapter")
    assert (tmp_path / "adapter" / "a.txt").read_text() == "old"
    assert names_in(tmp_path) == ["adapter"]


def test_sweeping_leaves_everything_else(tmp_path: Path) -> None:
    make_tree(tmp_path / "adapter", "new")
    make_tree(tmp_path / ".replaced-adapter", "old")
    (tmp_path / ".partial-file-1234").touch()
    (tmp_path / ".partial-link").symlink_to("adapter")
    (tmp_path / ".hidden").touch()
    sweep_partials(tmp_path)
    assert names_in(tmp_path) == [".hidden", "adapter"]
    assert (tmp_path / "adapter" / "a.txt").read_text() == "new"


def test_a_removed_directory_is_gone_at_once(tmp_path: Path) -> None:
    remove_directory(make_tree(tmp_path / "checkpoint-5", "x"))
    assert names_in(tmp_path) == []


def test_what_is_set_aside_is_never_overwritten(tmp_path: Path) -> None:
    for text in ("first", "second"):
        (tmp_path / "file").write_text(text)
        set_aside(tmp_path / "file")
    assert (tmp_path / "file.unreadable-1").read_text() == "first"
    assert (tmp_path / "file.unreadable-2").read_text() == "second"


def test_a_file_in_the_place_of_a_directory_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for place in ("taken", "taken/below"):
        with pytest.raises(BackpropError) as refused:
            make_directory(tmp_path / place)
        assert refused.value.problems[0].code == "INPUT_PATH_UNUSABLE"
        assert "a file is where a directory should be" in refused.value.problems[0].message
