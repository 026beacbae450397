"""Whether a file can be written at a path, judged before any work is done for it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

_STREAMS = (1, 2)
"""Descriptors of what a command says; a file that they go to is being written already."""
_SPECIAL = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def check_output(
    path: Path, *, flag: str, dataset: Iterable[Path], read: Iterable[Path] = (), written: Iterable[Path] = ()
) -> None:
    """Refuse a path at which no file can stand, or that is in use: the data set, what else is read, other outputs.

    Links are followed. Raises ``BackpropError`` that names ``flag``: INPUT_VALIDATION_FAILED.
    """
    in_use = {os.path.realpath(other): "is another of the files to be written" for other in written}
    in_use |= {os.path.realpath(other): "is a file that is read" for other in read}
    in_use |= {os.path.realpath(other): "is the data set itself" for other in dataset}
    try:
        reason = in_use.get(os.path.realpath(path)) or _no_place(path)
    except OSError as error:
        reason = f"cannot be written: {error.strerror or error}"
    if reason is not None:
        hint = f"Name another file with {flag}."
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", f"{path} {reason}.", where=flag, hint=hint))


def special_kind(path: Path) -> str | None:
    """``a device`` and its like, for what a file must not replace; None for a file, a directory or nothing.

    Raises ``OSError`` for a path that cannot be looked up.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    return next((name for is_kind, name in _SPECIAL if is_kind(mode)), None)


def _no_place(path: Path) -> str | None:
    """Why no file can be put at the path. Raises ``OSError`` for one that cannot be looked up."""
    if str(path) == "-":
        return "is no file: the output of a command holds what it says"
    kind = special_kind(path)
    if kind is not None:
        return f"is {kind}, not a file"
    if path.is_dir():
        return "is a directory"
    if _is_stream(path):
        return "is where the output of this command goes"
    folder = Path(os.path.realpath(path)).parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        return f"cannot be written: {folder} is not a directory"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"cannot be written: no permission to write in {folder}"
    return None


def _is_stream(path: Path) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    for stream in _STREAMS:
        try:
            if os.path.samestat(found, os.fstat(stream)):
                return True
        except OSError:  # closed
            continue
    return False
