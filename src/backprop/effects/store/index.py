"""Looking at the history: the index, trusted only where it agrees with the records. Looking changes nothing on disk.

An entry of the index is a copy of its run's record, stamped with the file it was made from; where the stamp differs
(a kill between the two writes, a lost index, a directory that was copied) the record itself is read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from backprop.effects.files.json_file import read_object
from backprop.effects.store.layout import history_path, record_path, run_path, runs_path
from backprop.effects.store.liveness import observe_status
from backprop.plan.decision import Problem, warning
from backprop.plan.errors import BackpropError
from backprop.plan.runs.row import RunRow, row_data, row_from
from backprop.plan.runs.run_id import is_run_id
from backprop.plan.runs.version import INDEX_VERSION, NewerVersion, check_version, upgrade


@attrs.frozen
class Entry:
    """A run as its record has it, and the stamp of the file that says so."""

    row: RunRow
    stamp: str


@attrs.frozen
class History:
    """All runs of an output directory, newest first."""

    entries: tuple[Entry, ...]
    warnings: tuple[Problem, ...] = ()
    unreadable: tuple[Path, ...] = ()
    """Damaged files, for the next writer to set aside."""

    @property
    def rows(self) -> tuple[RunRow, ...]:
        """The runs, with the status that can be seen now."""
        return tuple(
            attrs.evolve(entry.row, run_status=observe_status(entry.row.run_status, entry.row.worker))
            for entry in self.entries
        )


def read_history(output_dir: Path) -> History:
    """The history in ``output_dir``; empty when there is none.

    What is damaged is named in ``warnings`` and left out. Raises STATE_NEWER_VERSION for a later backprop's index,
    RUNTIME_PERMISSION_DENIED or RUNTIME_WRITE_FAILED when the directory cannot be read.
    """
    path = history_path(output_dir)
    warnings: list[Problem] = []
    unreadable: list[Path] = []
    try:
        known = _read_index(path)
    except NewerVersion as newer:
        raise BackpropError(Problem("STATE_NEWER_VERSION", f"{path} has {newer}.", where=str(path))) from newer
    except ValueError as wrong:
        known = {}
        warnings.append(warning("STATE_HISTORY_UNREADABLE", f"{path} is damaged: {wrong}.", where=str(path)))
        unreadable.append(path)
    entries = []
    for run_id in _run_ids(output_dir):
        record = record_path(run_path(output_dir, run_id))
        try:
            entry = _entry(record, run_id, known.get(run_id))
        except NewerVersion as newer:
            warnings.append(warning("STATE_NEWER_VERSION", f"{record} has {newer}.", where=str(record)))
            continue
        except ValueError as wrong:
            message = f"The record {record} is damaged: {wrong}."
            hint = "What stands beside it is untouched; the next run that begins here sets the record aside."
            warnings.append(warning("STATE_HISTORY_UNREADABLE", message, where=str(record), hint=hint))
            unreadable.append(record)
            entry = known.get(run_id)
        if entry is not None:
            entries.append(entry)
    entries.sort(key=lambda entry: (entry.row.created_at, entry.row.run_id), reverse=True)
    return History(tuple(entries), tuple(warnings), tuple(unreadable))


def index_text(history: History) -> str:
    """The index file that says the same."""
    runs = [{**row_data(entry.row), "record_stamp": entry.stamp} for entry in history.entries]
    return json.dumps({"schema_version": INDEX_VERSION, "runs": runs}, ensure_ascii=False, indent=1) + "\n"


def read_json_object(path: Path) -> Mapping[str, Any]:
    """:func:`read_object`, but RUNTIME_PERMISSION_DENIED for a file that may not be read."""
    try:
        return read_object(path)
    except (PermissionError, IsADirectoryError) as denied:
        raise BackpropError(
            Problem("RUNTIME_PERMISSION_DENIED", f"{path} cannot be read: {denied.strerror}.", where=str(path))
        ) from denied


def _read_index(path: Path) -> dict[str, Entry]:
    try:
        data = read_json_object(path)
    except FileNotFoundError:
        return {}
    check_version(data, INDEX_VERSION)
    runs = data.get("runs")
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise ValueError("runs is not a list of objects")
    entries = (Entry(row_from(run), str(run.get("record_stamp", ""))) for run in runs)
    return {entry.row.run_id: entry for entry in entries}


def _run_ids(output_dir: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(runs_path(output_dir)) if is_run_id(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as denied:
        path = runs_path(output_dir)
        raise BackpropError(
            Problem("RUNTIME_PERMISSION_DENIED", f"{path} cannot be read: {denied.strerror}.", where=str(path))
        ) from denied


def _entry(record: Path, run_id: str, known: Entry | None) -> Entry | None:
    try:
        found = record.stat()
    except FileNotFoundError:
        return known
    stamp = f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}"
    if known is not None and known.stamp == stamp:
        return known
    row = row_from(upgrade(read_json_object(record)))
    if row.run_id != run_id:
        raise ValueError(f"it is of run {row.run_id}")
    return Entry(row, stamp)
