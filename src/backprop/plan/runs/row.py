"""A run in one line of the index, and the reading of that line; both must stay cheap, so no converter is used here."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from backprop.plan.settings.verbs.runs import RunStatus

E = TypeVar("E", bound=enum.Enum)


class RunKind(enum.Enum):
    """Which verb made the run."""

    TRAIN = "train"


@attrs.frozen
class Worker:
    """The process that works on a run, so that its death can be told from its silence."""

    pid: int
    started_at: float
    """When the process began, seconds since 1970 as the operating system counts; pids are used again."""
    hostname: str


@attrs.frozen
class RunRow:
    """A run as ``backprop runs`` lists it. Losses are mean nats a supervised token."""

    run_id: str
    kind: RunKind
    created_at: str
    """UTC, ISO 8601."""
    ended_at: str | None
    run_status: RunStatus
    worker: Worker
    model: str
    data: str
    num_steps: int
    """Planned optimizer steps."""
    steps_done: int
    last_loss: float | None
    best_loss: float | None
    """The best held-out loss."""
    problem_code: str | None
    """Why it failed, as a code of the catalogue."""


@attrs.frozen
class RunsReport:
    """What ``backprop runs`` says: the newest runs that were asked for, and how many there are of that kind in all."""

    runs: tuple[RunRow, ...]
    num_runs: int
    output_dir: str

    @property
    def resumable(self) -> tuple[RunRow, ...]:
        """Those that ``backprop resume`` continues."""
        return tuple(run for run in self.runs if run.run_status.is_resumable)


def row_data(row: RunRow) -> dict[str, Any]:
    """The row as JSON data; :func:`row_from` is its inverse."""
    plain = attrs.asdict(row)
    return plain | {"kind": row.kind.value, "run_status": row.run_status.value}


def row_from(data: Mapping[str, Any]) -> RunRow:
    """The row in an index entry or in a record of the current version, whose other fields are left alone.

    Raises ``ValueError`` naming the field that is missing or of the wrong type.
    """
    worker = _field(data, "worker", Mapping)
    problem = data.get("problem")
    return RunRow(
        run_id=_field(data, "run_id", str),
        kind=_member(RunKind, data, "kind"),
        created_at=_field(data, "created_at", str),
        ended_at=_optional(data, "ended_at", str),
        run_status=_member(RunStatus, data, "run_status"),
        worker=Worker(
            pid=_field(worker, "pid", int),
            started_at=float(_field(worker, "started_at", (int, float))),
            hostname=_field(worker, "hostname", str),
        ),
        model=_field(data, "model", str),
        data=_field(data, "data", str),
        num_steps=_field(data, "num_steps", int),
        steps_done=_field(data, "steps_done", int),
        last_loss=_optional(data, "last_loss", (int, float)),
        best_loss=_optional(data, "best_loss", (int, float)),
        problem_code=_field(problem, "code", str)
        if isinstance(problem, Mapping)
        else _optional(data, "problem_code", str),
    )


def _field(data: Mapping[str, Any], name: str, kind: Any) -> Any:
    value = data.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}")
    return value


def _optional(data: Mapping[str, Any], name: str, kind: Any) -> Any:
    return None if data.get(name) is None else _field(data, name, kind)


def _member(members: type[E], data: Mapping[str, Any], name: str) -> E:
    try:
        return members(data.get(name))
    except ValueError as wrong:
        raise ValueError(f"{name} is {data.get(name)!r}") from wrong
