"""The history of runs on disk: records written whole, events added line by line, an index that can be lost."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import attrs

from backprop.effects.files.atomic import make_directory, set_aside, sweep_partials, write_atomic
from backprop.effects.files.lock import locked
from backprop.effects.store.events import append_event, read_events, truncate_events
from backprop.effects.store.index import History, index_text, read_history, read_json_object
from backprop.effects.store.layout import (
    events_path,
    history_lock_path,
    history_path,
    loss_curve_path,
    metrics_path,
    record_path,
    run_lock_path,
    run_path,
    runs_path,
)
from backprop.effects.store.liveness import observe_status
from backprop.effects.store.published import publish
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.events import Event
from backprop.plan.export.loss_chart import loss_svg
from backprop.plan.runs.event_log import RecordedEvent, heldout_losses_of, is_recorded, losses_of
from backprop.plan.runs.lookup import find_run
from backprop.plan.runs.metrics import metrics_text
from backprop.plan.runs.record import RunRecord, record_data, record_from
from backprop.plan.runs.row import RunRow
from backprop.plan.runs.run_id import utc_text
from backprop.plan.runs.version import NewerVersion

_LOCK_SECONDS = 30.0


def _now() -> datetime:
    return datetime.now(UTC)


class HistoryStore:
    """The runs of one output directory.

    Any number of processes may use it at once; a single run is changed only by the process that holds its lock.
    """

    def __init__(self, output_dir: str | Path, *, clock: Callable[[], datetime] = _now) -> None:
        self.output_dir = Path(output_dir)
        self._clock = clock

    def run_dir(self, run_id: str) -> Path:
        """Where everything of a run stands."""
        return run_path(self.output_dir, run_id)

    @contextlib.contextmanager
    def run_lock(self, run_id: str) -> Iterator[Path]:
        """Hold a run for this process, and sweep what its last holder left unfinished; the run's directory.

        Raises STATE_RUN_ACTIVE at once when another process holds it.
        """
        run_dir = make_directory(self.run_dir(run_id))
        busy = Problem("STATE_RUN_ACTIVE", f"Another process is working on run {run_id}.", where=str(run_dir))
        with locked(run_lock_path(run_dir), timeout_seconds=0, busy=busy):
            sweep_partials(run_dir)
            yield run_dir

    def start(self, record: RunRecord) -> None:
        """Write the record of a new run. Raises STATE_RUN_ACTIVE when its id is taken."""
        path = record_path(self.run_dir(record.run_id))
        with self._locked():
            if path.exists():
                raise BackpropError(
                    Problem("STATE_RUN_ACTIVE", f"There is a run {record.run_id} already.", where=str(path))
                )
            self._write(record)
        self._sweep_unrecorded()

    def update(self, run_id: str, change: Callable[[RunRecord], RunRecord]) -> RunRecord:
        """Replace the record by what ``change`` makes of it; the new record."""
        with self._locked():
            record = change(self.load(run_id))
            assert record.run_id == run_id, "a run keeps its name"
            self._write(record)
        return record

    def load(self, run_id: str) -> RunRecord:
        """The record as it was last written. Raises STATE_HISTORY_UNREADABLE, STATE_NEWER_VERSION."""
        path = record_path(self.run_dir(run_id))
        try:
            return record_from(read_json_object(path))
        except NewerVersion as newer:
            raise BackpropError(Problem("STATE_NEWER_VERSION", f"{path} has {newer}.", where=str(path))) from newer
        except (ValueError, OSError) as wrong:
            raise BackpropError(
                Problem(
                    "STATE_HISTORY_UNREADABLE",
                    f"The record of run {run_id} cannot be read: {wrong}.",
                    where=str(path),
                    hint="The adapter and the checkpoints beside it are untouched; `backprop runs` lists other runs.",
                )
            ) from wrong

    def seen(self, run_id: str) -> RunRecord:
        """The record with the status that can be seen now: a running run whose process has died is failed."""
        record = self.load(run_id)
        return attrs.evolve(record, run_status=observe_status(record.run_status, record.worker))

    def find(self, prefix: str, *, unknown_code: str = "CONFIG_INVALID_SETTING") -> RunRecord:
        """The run whose id begins like that, as seen now.

        Raises ``unknown_code`` when there is none, INPUT_RUN_AMBIGUOUS with the candidates when there are several.
        """
        run_ids = tuple(entry.row.run_id for entry in self.history().entries)
        found = find_run(prefix, run_ids, searched=str(self.output_dir), unknown_code=unknown_code)
        if isinstance(found, Problem):
            raise BackpropError(found)
        return self.seen(found)

    def history(self) -> History:
        """Every run in a line, newest first, and what was damaged."""
        return read_history(self.output_dir)

    def index(self) -> tuple[RunRow, ...]:
        """Every run in a line, as seen now, newest first."""
        return self.history().rows

    def append_event(self, run_id: str, event: Event) -> None:
        """Write an event down, if it is one that history keeps."""
        if is_recorded(event):
            append_event(events_path(self.run_dir(run_id)), RecordedEvent(utc_text(self._clock()), event))

    def events(self, run_id: str) -> tuple[RecordedEvent, ...]:
        """What happened in the run, in order."""
        return read_events(events_path(self.run_dir(run_id)))

    def truncate_events(self, run_id: str, after_step: int) -> None:
        """Drop what was measured beyond ``after_step``."""
        truncate_events(events_path(self.run_dir(run_id)), after_step)

    def draw_losses(self, run_id: str) -> None:
        """Write ``metrics.jsonl`` and ``loss.svg`` of the run anew from its events; nothing is drawn before a loss."""
        run_dir, events = self.run_dir(run_id), self.events(run_id)
        write_atomic(metrics_path(run_dir), metrics_text(events))
        drawing = loss_svg(losses_of(events), heldout_losses_of(events), title=f"Losses of run {run_id}")
        if drawing:
            write_atomic(loss_curve_path(run_dir), drawing)

    def publish(self, result: str) -> None:
        """Let ``<output>/lora`` or ``<output>/model`` lead to a result, given relative to the output directory."""
        with self._locked():
            publish(self.output_dir, self.output_dir / result)

    def _sweep_unrecorded(self) -> None:
        """Remove what runs left that were killed while their first record was written: nobody will continue them."""
        for run_dir in runs_path(self.output_dir).iterdir():
            if not record_path(run_dir).exists():
                busy = Problem("STATE_RUN_ACTIVE", f"Another process is beginning {run_dir.name}.")
                with contextlib.suppress(BackpropError), locked(run_lock_path(run_dir), timeout_seconds=0, busy=busy):
                    sweep_partials(run_dir)

    def _write(self, record: RunRecord) -> None:
        """Under the lock. The record first: an index that a kill leaves behind is mended by whoever reads it."""
        text = json.dumps(record_data(record), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
        write_atomic(record_path(self.run_dir(record.run_id)), text)
        sweep_partials(self.output_dir)
        history = self.history()
        for damaged in history.unreadable:
            set_aside(damaged)
        write_atomic(history_path(self.output_dir), index_text(history))

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        path = history_lock_path(self.output_dir)
        busy = Problem("STATE_HISTORY_BUSY", f"{path} has been held for {_LOCK_SECONDS:.0f} seconds.", where=str(path))
        return locked(path, timeout_seconds=_LOCK_SECONDS, busy=busy)
