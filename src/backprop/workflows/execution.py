"""From an accepted plan to an adapter or a model on disk, with a record that is true at every moment in between."""

from __future__ import annotations

import contextlib
import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from backprop.effects.executors import executor
from backprop.effects.files.atomic import PARTIAL, sweep_partials
from backprop.effects.files.token_store import RowSinks
from backprop.effects.probe.licence import observe_licence
from backprop.effects.store.checkpoints import Checkpoint, commit_checkpoint, list_checkpoints, prune
from backprop.effects.store.handover import hand_over_adapter, hand_over_model
from backprop.effects.store.history import HistoryStore
from backprop.effects.train.task import CommitCheckpoint, PlannedMemory, TrainResult, TrainTask
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.events import (
    CheckpointRemoved,
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    Interrupted,
    Recovered,
    Started,
)
from backprop.plan.export.card import Card, Shape, model_card
from backprop.plan.export.trained import Trained
from backprop.plan.facts.processes import SINGLE, Processes
from backprop.plan.memory.term import TermName
from backprop.plan.redaction import redact
from backprop.plan.runs.checkpoint import checkpoint_name
from backprop.plan.runs.course import (
    evaluations_so_far,
    interrupted,
    is_over,
    step_to_hand_over,
    with_resume_hint,
)
from backprop.plan.runs.event_log import heldout_losses_of, losses_of, recoveries_of
from backprop.plan.runs.record import RunProblem, RunRecord
from backprop.plan.runs.report import TrainReport
from backprop.plan.runs.retention import plan_retention
from backprop.plan.runs.run_id import utc_text
from backprop.plan.settings.verbs.runs import RunStatus
from backprop.plan.training.evaluation import EvaluationState
from backprop.plan.training.plan import TrainPlan
from backprop.plan.wire.outcome import Outcome, Status, ok
from backprop.workflows.request import Emit
from backprop.workflows.weights import weights_directory

_LOG = logging.getLogger(__name__)


@attrs.frozen
class Run:
    """A run that this process holds: its record, and how to tell what happens in it."""

    store: HistoryStore
    record: RunRecord
    emit: Emit
    processes: Processes = SINGLE
    """Those that train it together; this is the first of them."""

    @property
    def plan(self) -> TrainPlan:
        """What is executed."""
        return self.record.plan

    @property
    def directory(self) -> Path:
        """Where everything of the run stands."""
        return self.store.run_dir(self.record.run_id)

    def tell(self, event: Event) -> None:
        """Write an event down, then show it."""
        self.store.append_event(self.record.run_id, event)
        self.emit(event)

    def change(self, **fields: object) -> RunRecord:
        """Replace fields of the record on disk."""
        return self.store.update(self.record.run_id, lambda record: attrs.evolve(record, **fields))  # type: ignore[arg-type]


def execute(
    command: str,
    run: Run,
    *,
    rows: RowSinks,
    checkpoint: Checkpoint | None,
    extended: bool = False,
    warnings: tuple[Problem, ...] = (),
) -> Outcome:
    """Train from the checkpoint, or from the beginning, to the planned end. The caller holds the run's lock."""
    from_step = checkpoint.manifest.step if checkpoint else 0
    evaluations = evaluations_so_far(run.store.events(run.record.run_id), extended=extended)
    run.tell(Started(run.record.run_id, run.plan.length.steps.value, from_step))
    done, seconds, begun = from_step, 0.0, time.perf_counter()
    try:
        if not is_over(run.plan, from_step, evaluations):
            result = _train(run, rows=rows, checkpoint=checkpoint, evaluations=evaluations)
            done, seconds = result.last_step, result.seconds
            if result.interrupted:
                return _interrupted(command, run, done, seconds, warnings)
        return ok(command, _report(run, _finish(run, steps_done=done, seconds=seconds)), warnings=warnings)
    except BackpropError as error:
        return _failed(command, run, error, time.perf_counter() - begun, warnings)
    except KeyboardInterrupt:
        return _interrupted(command, run, _steps_saved(run), time.perf_counter() - begun, warnings)


def _train(run: Run, *, rows: RowSinks, checkpoint: Checkpoint | None, evaluations: EvaluationState) -> TrainResult:
    task = TrainTask(
        model_dir=str(weights_directory(run.plan.model)),
        staging_dir=run.directory / f"{PARTIAL}checkpoint",
        rows=rows.train,
        heldout=rows.heldout,
        resume_from=checkpoint.path if checkpoint else None,
        evaluations=evaluations,
        commit_checkpoint=_committer(run),
        recoveries=recoveries_of(run.store.events(run.record.run_id)),
        planned_memory=_planned_memory(run.plan),
        run_id=run.record.run_id,
        run_dir=run.directory,
        processes=run.processes,
    )

    def tell(event: Event) -> None:
        run.tell(event)
        if isinstance(event, Recovered):
            # Memory that ran out within an update sends the run back to a checkpoint, as a resumed run goes back.
            run.store.truncate_events(run.record.run_id, event.step)

    try:
        result: TrainResult = executor(run.plan.rail.value, "train")(run.plan, task, emit=tell)
    finally:
        sweep_partials(run.directory)
    return result


def _planned_memory(plan: TrainPlan) -> PlannedMemory | None:
    memory = plan.memory
    return None if memory is None else PlannedMemory(memory.peak_bytes, memory.bytes_of(TermName.OPTIMIZER))


def _committer(run: Run) -> CommitCheckpoint:
    """Commits a checkpoint, says so, and removes those that the retention rule lets go."""

    def commit(staged: Path, step: int) -> Path:
        path = commit_checkpoint(
            run.directory,
            staged,
            step=step,
            sequences_seen=step * run.plan.batch.effective,
            plan_fingerprint=run.record.fingerprints.plan,
            data_fingerprint=run.record.fingerprints.data,
        )
        run.change(steps_done=step)
        run.tell(CheckpointSaved(step, checkpoint_name(step)))
        run.store.draw_losses(run.record.run_id)
        best = evaluations_so_far(run.store.events(run.record.run_id)).best_step
        steps = list_checkpoints(run.directory)
        for old in plan_retention(steps, best_step=best, keep=run.plan.checkpoints.keep):
            prune(run.directory, (old,))
            run.tell(CheckpointRemoved(old, checkpoint_name(old)))
        return path

    return commit


def _finish(run: Run, *, steps_done: int, seconds: float) -> RunRecord:
    """The result of the best step, else of the last, goes to its place; ``<output>/lora`` or ``/model`` leads to it."""
    events = run.store.events(run.record.run_id)
    losses, evaluations = losses_of(events), evaluations_so_far(events)
    step = step_to_hand_over(evaluations, steps_done=steps_done)
    last_loss = losses[-1][1] if losses else None
    trained = Trained(
        plan=run.plan,
        run_id=run.record.run_id,
        steps_done=steps_done,
        losses=losses,
        heldout_losses=heldout_losses_of(events),
        settings=run.record.settings,
        licence=observe_licence(run.plan.model.directory),
    )
    card = model_card(trained, shape=Shape.ADAPTER if run.plan.adapter else Shape.MODEL)
    result = _hand_over(run, step, card).relative_to(run.store.output_dir).as_posix()
    adapter, full_model = (result, None) if run.plan.adapter else (None, result)
    train_seconds = (run.record.train_seconds or 0.0) + seconds
    run.tell(Finished(steps_done, adapter, train_seconds, full_model))
    _draw_losses(run)
    run.store.publish(result)  # before the record calls the run complete: one that is complete is never taken up again
    return run.change(
        run_status=RunStatus.COMPLETED,
        ended_at=utc_text(datetime.now(UTC)),
        steps_done=steps_done,
        last_loss=last_loss,
        best_loss=evaluations.best_loss,
        best_step=evaluations.best_step,
        train_seconds=train_seconds,
        adapter=adapter,
        full_model=full_model,
        problem=None,
    )


def _hand_over(run: Run, step: int, card: Card) -> Path:
    plan = run.plan
    common: dict[str, Any] = {
        "checkpoint": run.directory / checkpoint_name(step),
        "model_dir": Path(plan.model.directory or weights_directory(plan.model)),
        "chat_template": plan.tokenizer.chat_template if plan.tokenizer else None,
        "card": card,
    }
    if plan.adapter is not None:
        return hand_over_adapter(run.directory, **common)
    return hand_over_model(run.directory, **common, dtype=plan.precision.storage.value)


def _interrupted(command: str, run: Run, step: int, seconds: float, warnings: tuple[Problem, ...]) -> Outcome:
    run.tell(Interrupted(step))
    problem = interrupted(run.record.run_id, plan=run.plan, step=step, run_dir=str(run.directory))
    record = _record_end(run, RunStatus.INTERRUPTED, problem, step, seconds)
    return Outcome(command, Status.INTERRUPTED, _report(run, record), (problem, *warnings))


def _failed(command: str, run: Run, error: BackpropError, seconds: float, warnings: tuple[Problem, ...]) -> Outcome:
    _LOG.debug("The run ended with an error.", exc_info=error)
    first = error.problems[0]
    step = _steps_saved(run)
    problems = (with_resume_hint(first, run.record.run_id, output_dir=run.plan.output_dir), *error.problems[1:])
    try:
        run.tell(Failed(step, first.code, first.message))
        record = _record_end(run, RunStatus.FAILED, first, step, seconds)
    except BackpropError as unwritten:  # on a full disk, say; what ended the run is told all the same
        _LOG.debug("The record of the run could not be written.", exc_info=unwritten)
        record = attrs.evolve(run.record, run_status=RunStatus.FAILED, steps_done=step)
    return Outcome(command, Status.FAILED, _report(run, record), (*problems, *warnings))


def _record_end(run: Run, status: RunStatus, problem: Problem, step: int, seconds: float) -> RunRecord:
    _draw_losses(run)
    losses = losses_of(run.store.events(run.record.run_id))
    return run.change(
        run_status=status,
        ended_at=utc_text(datetime.now(UTC)),
        steps_done=step,
        last_loss=losses[-1][1] if losses else None,
        train_seconds=(run.record.train_seconds or 0.0) + seconds,
        problem=RunProblem(problem.code, redact(problem.message)),
    )


def _draw_losses(run: Run) -> None:
    with contextlib.suppress(BackpropError):  # the end is what is to be told, not that a drawing of it failed
        run.store.draw_losses(run.record.run_id)


def _steps_saved(run: Run) -> int:
    return max(list_checkpoints(run.directory), default=0)


def _report(run: Run, record: RunRecord) -> TrainReport:
    return TrainReport(
        run_id=record.run_id,
        run_status=record.run_status,
        run_dir=str(run.directory),
        adapter=str(run.store.output_dir / record.adapter) if record.adapter else None,
        full_model=str(run.store.output_dir / record.full_model) if record.full_model else None,
        steps_done=record.steps_done,
        num_steps=record.num_steps,
        last_loss=record.last_loss,
        best_loss=record.best_loss,
        best_step=record.best_step,
        train_seconds=record.train_seconds,
        fingerprint=record.fingerprints.plan,
        plan=record.plan,
    )
