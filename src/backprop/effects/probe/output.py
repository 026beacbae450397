"""Whether anything can be written where a run's output is to go, found out without writing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from backprop.effects.files.atomic import writing
from backprop.effects.store.layout import runs_path
from backprop.plan.errors import BackpropError
from backprop.plan.facts.absent import Absent


def observe_output(output_dir: str) -> Absent | None:
    """None where a run could make its directory; else the problem that making it would raise."""
    output = Path(output_dir).absolute()
    try:
        for directory in (output, runs_path(output)):
            with writing(directory):
                _check_makeable(directory)
    except BackpropError as refusal:
        return Absent(refusal.problems[0])
    return None


def _check_makeable(directory: Path) -> None:
    """Raise the ``OSError`` that making ``directory``, and something in it, would meet."""
    for place in (directory, *directory.parents):
        try:
            place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not place.is_dir():
            raise _error(errno.EEXIST if place == directory else errno.ENOTDIR)
        if not os.access(place, os.W_OK | os.X_OK):
            raise _error(errno.EACCES)
        return


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
