"""Writing so that a file or directory is there whole or not at all, whatever happens in between.

Everything unfinished has a name that begins with ``.partial-``; what a kill leaves behind can be swept up by it.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import attrs

from backprop.effects.files.os_errors import output_code
from backprop.effects.files.output_path import special_kind
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

PARTIAL = ".partial-"
"""Not finished, or on its way out: worth nothing."""
REPLACED = ".replaced-"
"""The former holder of a name, until the new one has it."""
_BUFFER_BYTES = 1 << 20


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Translate what the operating system says against writing ``path`` into RUNTIME_DISK_FULL and its kin."""
    try:
        yield
    except OSError as error:
        in_place = isinstance(error, FileExistsError | NotADirectoryError)
        reason = "a file is where a directory should be" if in_place else error.strerror or str(error)
        problem = Problem(output_code(error), f"{path} cannot be written: {reason}.", where=str(path))
        raise BackpropError(problem) from error


def make_directory(path: Path) -> Path:
    """The directory, made with its parents if it is not there."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace ``path`` by ``content``, on the disk when this returns; on failure the former content stands.

    Parents are made. A symbolic link is followed, and the mode of an existing file kept. Raises ``BackpropError``,
    also for a device or a pipe, which a file would put out of the world.
    """
    with writing(path):
        target = _target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f"{PARTIAL}{target.name}-{os.urandom(4).hex()}")
        try:
            _write_synced(aside, content.encode() if isinstance(content, str) else content, mode=_mode_of(target))
            aside.replace(target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_directory(target.parent)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream whose bytes replace ``path`` when the block ends; as :func:`replacing_all`."""
    with replacing_all((path,)) as (stream,):
        yield stream


@contextlib.contextmanager
def replacing_all(paths: Sequence[Path]) -> Iterator[tuple[IO[bytes], ...]]:
    """Streams whose bytes replace ``paths`` when the block ends, on the disk; on failure all former contents stand.

    For what is too long to be held. Every file is whole and on the disk before the first takes its name; only a file
    system that then refuses a name can leave some replaced and others not. What fails names the path whose file it was.
    As :func:`write_atomic` otherwise.
    """
    with contextlib.ExitStack() as cleanup:
        writers = []
        for path in paths:
            with writing(path):
                writers.append(_open_aside(path, cleanup))
        yield tuple(writer.stream for writer in writers)
        for writer in writers:
            with writing(writer.path):
                writer.stream.flush()
                os.fsync(writer.stream.fileno())
        for writer in writers:
            with writing(writer.path):
                writer.aside.replace(writer.target)
                sync_directory(writer.target.parent)


@attrs.frozen(eq=False)
class _Writer:
    """A file on its way to ``path``, under the name ``aside`` until it is whole."""

    path: Path
    target: Path
    """``path`` with its links followed."""
    aside: Path
    stream: io.BufferedWriter


def _open_aside(path: Path, cleanup: contextlib.ExitStack) -> _Writer:
    target = _target(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{PARTIAL}{target.name}-{os.urandom(4).hex()}")
    mode = _mode_of(target)
    raw = _NamedFile(aside, path)
    cleanup.callback(aside.unlink, missing_ok=True)
    # The file below the buffer: on failure, closing must not try to write what is left.
    cleanup.callback(raw.close)
    if mode is not None and hasattr(os, "fchmod"):
        os.fchmod(raw.fileno(), mode)
    return _Writer(path, target, aside, io.BufferedWriter(raw, _BUFFER_BYTES))


class _NamedFile(io.FileIO):
    """A new file whose failures name the path that it is to stand at."""

    def __init__(self, aside: Path, path: Path) -> None:
        super().__init__(aside, "xb")
        self._path = path

    def write(self, data: Any, /) -> int:
        with writing(self._path):
            return super().write(data)


def _target(path: Path) -> Path:
    """The path with its links followed. Raises ``BackpropError`` for what a file must not replace."""
    kind = special_kind(path)
    if kind is not None:
        message = f"{path} cannot be written: it is {kind}, not a file."
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", message, where=str(path), hint="Name another file."))
    return Path(os.path.realpath(path))


def _mode_of(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return None


def _write_synced(path: Path, content: bytes, *, mode: int | None) -> None:
    with path.open("xb") as file:
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a power cut. Windows has no such call and does without."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Make a directory's files, and the names of all of them, survive a power cut."""
    for folder, _, names in os.walk(directory):
        for name in names:
            # Windows syncs only what is open for writing.
            with (Path(folder) / name).open("rb+" if os.name == "nt" else "rb") as file:
                os.fsync(file.fileno())
        sync_directory(Path(folder))


def replace_directory(staged: Path, final: Path) -> None:
    """Move a finished directory to its name, replacing what has it. Both are on one file system.

    A kill in between leaves the former one as ``.replaced-NAME``, which :func:`sweep_partials` puts back.
    """
    with writing(final):
        sync_tree(staged)
        former = final.with_name(f"{REPLACED}{final.name}")
        if final.exists():
            shutil.rmtree(former, ignore_errors=True)
            final.rename(former)
        staged.rename(final)
        sync_directory(final.parent)
        shutil.rmtree(former, ignore_errors=True)


def remove_directory(directory: Path) -> None:
    """Remove a directory so that a kill leaves it whole, or as a partial, never as half of itself."""
    with writing(directory):
        doomed = directory.with_name(f"{PARTIAL}removed-{directory.name}-{os.urandom(4).hex()}")
        directory.rename(doomed)
        shutil.rmtree(doomed)


def sweep_partials(directory: Path) -> tuple[str, ...]:
    """Remove what a kill left unfinished directly in ``directory``; the names removed or put back, sorted.

    Only for directories in which nobody else is writing.
    """
    with writing(directory):
        found = sorted(e.name for e in os.scandir(directory) if e.name.startswith((PARTIAL, REPLACED)))
        for name in found:
            path = directory / name
            final = directory / name.removeprefix(REPLACED)
            if name.startswith(REPLACED) and not final.exists():
                path.rename(final)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    return tuple(found)


def set_aside(path: Path, *, mark: str = "unreadable") -> Path:
    """Rename ``path`` to the first free ``NAME.unreadable-N`` beside it, so that nothing is lost; the new path."""
    with writing(path):
        number = 1
        while os.path.lexists(aside := path.with_name(f"{path.name}.{mark}-{number}")):
            number += 1
        path.rename(aside)
    return aside
