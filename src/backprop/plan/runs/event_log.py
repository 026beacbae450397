"""Which events are kept, and which of them still hold when a run goes back to a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from backprop.plan.events import (
    CheckpointRemoved,
    CheckpointSaved,
    Evaluated,
    Event,
    Planned,
    Progressed,
    Recovered,
    Stage,
    Step,
    StoppedEarly,
    Written,
)

_SHOWN_ONLY = (Planned, Progressed, Stage, Written)
_UNDONE_BY_GOING_BACK = (Step, Evaluated, CheckpointSaved, CheckpointRemoved, StoppedEarly)


@attrs.frozen
class RecordedEvent:
    """An event with the moment it was written down, UTC in ISO 8601."""

    at: str
    event: Event


def is_recorded(event: Event) -> bool:
    """Whether an event belongs to the history of a run; the rest is only shown while it happens."""
    return not isinstance(event, _SHOWN_ONLY)


def events_up_to(events: Iterable[RecordedEvent], step: int) -> tuple[RecordedEvent, ...]:
    """What remains when the run goes back to ``step``: measurements beyond it are taken again, so they go.

    That the run was started, interrupted, or failed there stays true, and so do the sizes that fitted into memory.
    """
    return tuple(
        recorded
        for recorded in events
        if not (isinstance(recorded.event, _UNDONE_BY_GOING_BACK) and recorded.event.step > step)
    )


def losses_of(events: Iterable[RecordedEvent]) -> tuple[tuple[int, float], ...]:
    """(step, mean training loss) of every report."""
    return tuple((r.event.step, r.event.loss) for r in events if isinstance(r.event, Step))


def heldout_losses_of(events: Iterable[RecordedEvent]) -> tuple[tuple[int, float], ...]:
    """(step, held-out loss) of every evaluation."""
    return tuple((r.event.step, r.event.loss) for r in events if isinstance(r.event, Evaluated))


def recoveries_of(events: Iterable[RecordedEvent]) -> tuple[Recovered, ...]:
    """How often memory ran out, in order; the sizes of the last one are those of the run."""
    return tuple(r.event for r in events if isinstance(r.event, Recovered))
