"""The run that made a directory, found by where it stands: ``<output>/runs/<run_id>/adapter``."""

from __future__ import annotations

from pathlib import Path

from backprop.effects.store.history import HistoryStore
from backprop.plan.errors import BackpropError
from backprop.plan.runs.event_log import RecordedEvent
from backprop.plan.runs.record import RunRecord
from backprop.plan.runs.run_id import is_run_id


def observe_run_of(directory: Path) -> tuple[RunRecord, tuple[RecordedEvent, ...]] | None:
    """Record and events of the run that handed ``directory`` over; None for a directory of anyone else's.

    A record that cannot be read is the history's to report, and here none.
    """
    run_dir = directory.resolve().parent
    if not is_run_id(run_dir.name):
        return None
    store = HistoryStore(run_dir.parent.parent)
    try:
        record = store.find(run_dir.name)
        return record, store.events(record.run_id)
    except BackpropError:
        return None
