"""The directory of an export: checked before work, written aside, and moved to its name when it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from backprop.effects.files.atomic import PARTIAL, make_directory, replace_directory, sync_tree, writing
from backprop.effects.files.json_file import read_object
from backprop.effects.files.lock import locked
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.export.card import CARD, LOSS_IMAGE
from backprop.plan.export.plan import ExportPlan
from backprop.plan.quantity import file_size
from backprop.plan.settings.verbs.export import ExportFormat

MARK = "export.json"
"""By this file an export is known as one, so that the next may replace it."""
_LOCK = ".lock"


def check_output(plan: ExportPlan, *, num_bytes: int) -> tuple[Problem, ...]:
    """Why the plan's directory cannot become its export: something else would be lost, or the disk has too little room.

    INPUT_VALIDATION_FAILED, RUNTIME_DISK_FULL.
    """
    out = Path(plan.output_dir)
    what = _occupied(plan, out)
    if what is not None:
        hint = "Name another with --output."
        return (Problem("INPUT_VALIDATION_FAILED", f"{out} {what}.", where="--output", hint=hint),)
    above = next(parent for parent in out.resolve().parents if parent.exists())
    with writing(out):
        free = shutil.disk_usage(above).free
    if free < num_bytes:
        message = f"{out} takes {file_size(num_bytes)}, and its disk has {file_size(free)} free."
        return (Problem("RUNTIME_DISK_FULL", message, where="--output"),)
    return ()


def _occupied(plan: ExportPlan, out: Path) -> str | None:
    place = out.resolve()
    if any(place == (source := Path(name).resolve()) or place in source.parents for name in plan.directories):
        return "holds what is exported"
    here = Path.cwd()
    if place in (here, *here.parents):  # an export takes the place of the directory itself, not of its files
        return "is where you are"
    if out.exists() and not out.is_dir():
        return "is a file"
    if not out.is_dir() or not any(out.iterdir()):
        return None
    former = _former(out)
    if former is None:
        return f"holds files that are no export: it has no {MARK}"
    if former.get("format") != plan.format.value:
        return f"holds an export of another format, {former.get('format')}"
    others = _other_quantizations(plan, out)
    if others and former.get("made_of") != _made_of(plan):
        return f"holds {others[0].name}, which was made of another adapter or model"
    return None


def _former(out: Path) -> Mapping[str, Any] | None:
    try:
        return read_object(out / MARK)
    except (OSError, ValueError):
        return None


def name_of_export(directory: Path) -> str | None:
    """What an export is called; None for a directory that holds none."""
    name = (_former(directory) or {}).get("name")
    return name if isinstance(name, str) else None


def _other_quantizations(plan: ExportPlan, out: Path) -> tuple[Path, ...]:
    if plan.format is not ExportFormat.GGUF:
        return ()
    return tuple(sorted(f for f in out.glob("*.gguf") if not f.name.endswith(f"-{plan.quantization.value}.gguf")))


def kept_beside(plan: ExportPlan, out: Path) -> tuple[Path, ...]:
    """GGUF files of other quantizations in ``out``, made of the same weights, which the export leaves there."""
    former = _former(out)
    is_same = former is not None and former.get("made_of") == _made_of(plan)
    return _other_quantizations(plan, out) if is_same else ()


def _made_of(plan: ExportPlan) -> str:
    """A fingerprint of the weight files that are read: their names, lengths and times."""
    files = {tensor.facts.file for tensor in plan.adapter.tensors} if plan.adapter else set()
    files |= {tensor.file for tensor in plan.merge.base.tensors} if plan.merge else set()
    seen = sorted((path.name, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in map(Path, files))
    return hashlib.sha256(repr(seen).encode()).hexdigest()


@contextlib.contextmanager
def staged(plan: ExportPlan, out: Path) -> Iterator[Path]:
    """A directory to write into, which becomes ``out`` with its card and mark when the block ends.

    A former export is replaced, but for GGUF files of other quantizations; a symbolic link is followed. On failure
    nothing of the new one remains and the former stands; what a kill leaves, the next export to ``out`` removes.
    Raises STATE_RUN_ACTIVE when another process exports to ``out``.
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
                for file in kept_beside(plan, out):
                    _link(file, aside / file.name)
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
    mark = {"schema_version": 1, "format": plan.format.value, "name": plan.name, "made_of": _made_of(plan)}
    (directory / MARK).write_text(json.dumps(mark) + "\n", encoding="utf-8")


def _link(file: Path, target: Path) -> None:
    try:
        target.hardlink_to(file)
    except OSError:  # not every file system has links
        shutil.copyfile(file, target)


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
