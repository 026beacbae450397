"""The events of a run, one JSON object a line, only ever added to; a line that a kill cut short is no line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from backprop.effects.files.atomic import write_atomic, writing
from backprop.plan.events import Event
from backprop.plan.redaction import redact
from backprop.plan.runs.event_log import RecordedEvent, events_up_to
from backprop.plan.wire.converter import as_mapping, from_data, to_data

_TAIL_BYTES = 64 * 1024


def append_event(path: Path, recorded: RecordedEvent) -> None:
    """Add one line. When the disk fills up in the middle of it the file is as before. Raises ``BackpropError``."""
    line = _line(recorded).encode()
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            end = _end_of_last_line(descriptor)
            os.ftruncate(descriptor, end)
            os.lseek(descriptor, end, os.SEEK_SET)
            try:
                _write_all(descriptor, line)
            except BaseException:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)


def read_events(path: Path) -> tuple[RecordedEvent, ...]:
    """Every whole line, in order; empty without a file. Lines that cannot be read are left out."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return ()
    return tuple(_readable(lines[:-1]))


def truncate_events(path: Path, step: int) -> None:
    """Drop what was measured beyond ``step``, which a run that goes back to it will measure again."""
    kept = events_up_to(read_events(path), step)
    write_atomic(path, "".join(map(_line, kept)))


def _line(recorded: RecordedEvent) -> str:
    data = {"at": recorded.at, **to_data(recorded.event, as_type=Event)}
    if isinstance(data.get("message"), str):
        data["message"] = redact(data["message"])
    return json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n"


def _readable(lines: Iterable[bytes]) -> Iterator[RecordedEvent]:
    for line in lines:
        try:
            data: dict[str, Any] = dict(as_mapping(json.loads(line)))
            yield RecordedEvent(at=str(data.pop("at")), event=from_data(data, Event))  # type: ignore[arg-type]
        except (ValueError, KeyError):
            continue


def _end_of_last_line(descriptor: int) -> int:
    """The position after the last newline."""
    position = os.lseek(descriptor, 0, os.SEEK_END)
    while position:
        begin = max(0, position - _TAIL_BYTES)
        os.lseek(descriptor, begin, os.SEEK_SET)
        found = os.read(descriptor, position - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        position = begin
    return 0


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
