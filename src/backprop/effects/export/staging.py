"""The directory of an export: checked before work, written aside, and moved to its name when it is whole."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from backprop.effects.files.atomic import PARTIAL, make_directory, replace_directory, sync_tree, writing
from backprop.effects.files.lock import locked
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.export.card import CARD, LOSS_IMAGE
from backprop.plan.export.plan import ExportPlan
from backprop.plan.quantity import gib

MARK = "export.json"
"""By this file an export is known as one, so that the next may replace it."""
_LOCK = ".lock"


def check_output(out: Path, *, sources: Iterable[str], num_bytes: int) -> tuple[Problem, ...]:
    """Why ``out`` cannot become an export: it is in use, holds what nobody exported, or the disk has too little room.

    INPUT_PATH_UNUSABLE, RUNTIME_DISK_FULL. ``sources`` are the directories that are read.
    """
    place = out.resolve()
    if any(place == (source := Path(name).resolve()) or place in source.parents for name in sources):
        return (_unusable(out, "holds what is exported"),)
    here = Path.cwd()
    if place in (here, *here.parents):  # an export takes the place of the directory itself, not of its files
        return (_unusable(out, "is where you are"),)
    if out.exists() and not out.is_dir():
        return (_unusable(out, "is a file"),)
    above = next(parent for parent in place.parents if parent.exists())
    with writing(out):
        if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
            return (_unusable(out, f"holds files that are no export: it has no {MARK}"),)
        free = shutil.disk_usage(above).free
    if free < num_bytes:
        message = f"{out} takes {gib(num_bytes)}, and its disk has {gib(free)} free."
        return (Problem("RUNTIME_DISK_FULL", message, where="--output"),)
    return ()


def _unusable(out: Path, what: str) -> Problem:
    return Problem("INPUT_PATH_UNUSABLE", f"{out} {what}.", where="--output", hint="Name another with --output.")


@contextlib.contextmanager
def staged(plan: ExportPlan, out: Path) -> Iterator[Path]:
    """A directory to write into, which becomes ``out`` with its card and mark when the block ends.

    A symbolic link is followed. On failure nothing of it remains and a former export stands; what a kill leaves, the
    next export to ``out`` removes. Raises STATE_RUN_ACTIVE when another process exports to ``out``.
    """
    final = out.resolve()
    aside = make_directory(final.with_name(f"{PARTIAL}{final.name}"))
    busy = Problem("STATE_RUN_ACTIVE", f"Another process is exporting to {out}.", where="--output")
    with contextlib.ExitStack() as held:
        held.enter_context(locked(aside / _LOCK, timeout_seconds=0, busy=busy))
        try:
            with writing(out):
                _clear(aside)
                yield aside
                _finish(plan, aside)
                if os.name == "nt":  # which renames no directory that a file is open in
                    sync_tree(aside)
                    held.close()
            # Until it has its name, another export must not take the directory for what a kill left.
            replace_directory(aside, final)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        (final / _LOCK).unlink(missing_ok=True)


def _finish(plan: ExportPlan, directory: Path) -> None:
    """Put the card and the mark beside what was written."""
    if plan.model_card is not None:
        (directory / CARD).write_text(plan.model_card, encoding="utf-8")
        if plan.loss_image:
            (directory / LOSS_IMAGE).write_text(plan.loss_image, encoding="utf-8")
    mark = {"schema_version": 1, "format": plan.format.value, "name": plan.name}
    (directory / MARK).write_text(json.dumps(mark) + "\n", encoding="utf-8")


def _clear(directory: Path) -> None:
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != _LOCK:
            entry.unlink()


def copy_files(names: Iterable[str], source: str | Path, target: Path) -> None:
    """The files of these names that ``source`` has, unchanged. Raises DEP_MODEL_LOAD_FAILED."""
    for name in names:
        path = Path(source) / name
        if path.is_file():
            try:
                stream = path.open("rb")
            except OSError as error:
                message = f"{path} cannot be read: {error.strerror}."
                raise BackpropError(Problem("DEP_MODEL_LOAD_FAILED", message, where=str(path))) from error
            with stream, (target / name).open("wb") as copy:
                shutil.copyfileobj(stream, copy, 2**20)
