"""What ``backprop show-run`` says of a run."""

from __future__ import annotations

import attrs

from backprop.plan.runs.event_log import RecordedEvent, heldout_losses_of, losses_of
from backprop.plan.runs.record import FactsSummary, Fingerprints, GivenSetting, RunProblem, RunRecord
from backprop.plan.runs.row import RunKind, Worker
from backprop.plan.settings.verbs.runs import RunStatus
from backprop.plan.training.plan import TrainPlan


@attrs.frozen
class Artefact:
    """A file or directory that the run made, relative to its directory; a directory's size is that of its files."""

    path: str
    num_bytes: int


@attrs.frozen
class ShowRunReport:
    """A run: its record, field by field, its losses, its artefacts and its events."""

    run_id: str
    kind: RunKind
    run_status: RunStatus
    """As seen now: a running run whose process has died is failed."""
    resumable: bool
    """It did not complete, and nobody works on it."""
    created_at: str
    ended_at: str | None
    run_dir: str
    worker: Worker
    model: str
    data: str
    num_steps: int
    steps_done: int
    last_loss: float | None
    best_loss: float | None
    best_step: int | None
    train_seconds: float | None
    adapter: str | None
    full_model: str | None
    problem: RunProblem | None
    resumed_from: tuple[int, ...]
    settings: tuple[GivenSetting, ...]
    fingerprints: Fingerprints
    facts: FactsSummary
    plan: TrainPlan
    losses: tuple[tuple[int, float], ...]
    """(step, mean training loss)"""
    heldout_losses: tuple[tuple[int, float], ...]
    """(step, held-out loss)"""
    artefacts: tuple[Artefact, ...]
    events: tuple[RecordedEvent, ...]


def show_run(
    record: RunRecord,
    events: tuple[RecordedEvent, ...],
    *,
    run_dir: str,
    artefacts: tuple[Artefact, ...],
) -> ShowRunReport:
    """Put together what was read. ``record`` has the status as seen now."""
    own = {name: getattr(record, name) for name in _SHARED}
    return ShowRunReport(
        **own,
        resumable=record.run_status.is_resumable,
        run_dir=run_dir,
        losses=losses_of(events),
        heldout_losses=heldout_losses_of(events),
        artefacts=artefacts,
        events=events,
    )


_SHARED = tuple(f.name for f in attrs.fields(RunRecord) if f.name in attrs.fields_dict(ShowRunReport))
