"""``backprop resume``: go on with a run from its last good checkpoint, exactly as if it had never stopped."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from backprop.effects.probe.processes import observe_processes
from backprop.effects.store.checkpoints import Checkpoint, latest_valid, list_checkpoints, set_aside_beyond
from backprop.effects.store.history import HistoryStore
from backprop.effects.store.liveness import this_worker
from backprop.plan.decision import Problem, Refused
from backprop.plan.events import Planned
from backprop.plan.facts.absent import Absent
from backprop.plan.runs.event_log import recoveries_of
from backprop.plan.runs.record import RunRecord
from backprop.plan.runs.report import DryRunReport
from backprop.plan.runs.resume import ResumePlan, plan_resume
from backprop.plan.runs.settings import settings_of
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.verbs.resume import ResumeSettings
from backprop.plan.settings.verbs.runs import RunStatus
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.fingerprint import data_fingerprint, fingerprint, model_fingerprint
from backprop.plan.training.oom_recovery import after, with_recovery
from backprop.plan.wire.outcome import Outcome, ok, refused
from backprop.workflows.execution import Run, execute
from backprop.workflows.following import follow
from backprop.workflows.observation import observed
from backprop.workflows.request import Request


def run(request: Request[ResumeSettings], *, command: str = "resume") -> Outcome:
    """Find the run, see that model and data are still what it was planned on, and execute the rest of its plan."""
    settings = request.settings
    store = HistoryStore(Path(settings.output.output_dir).absolute())
    record = store.find(settings.run_id, unknown_code="INPUT_RESUME_NOT_FOUND")
    asked = settings_of(record)
    if isinstance(asked, Refused):
        return refused(command, (*asked.problems, *request.warnings))
    if not settings.dry_run and not observe_processes(os.environ).is_first:
        return _follow(command, record, asked, request)
    with (
        store.run_lock(record.run_id) as run_dir,
        observed(asked, origins=Origins(), keep_rows=not settings.dry_run, emit=request.emit) as seen,
    ):
        absent = _absent(seen.facts)
        if absent:
            return refused(command, (*absent, *request.warnings))
        search = latest_valid(run_dir)
        decided = _decide(record, search.checkpoint, seen.facts, run_dir, settings.steps)
        if isinstance(decided, Refused):
            return refused(command, (*decided.problems, *search.warnings, *request.warnings))
        warnings = (*search.warnings, *request.warnings, *decided.warnings)
        plan = decided.plan
        executed = with_recovery(plan, after(plan, recoveries_of(store.events(record.run_id))))
        if settings.dry_run:
            report = DryRunReport(executed, fingerprint(plan), from_step=decided.from_step)
            return ok(command, report, warnings=warnings)
        continued = _continue(store, record, decided)
        set_aside_beyond(run_dir, decided.from_step)
        request.emit(Planned(executed, warnings=warnings))
        assert seen.rows is not None, "the tokenizer was there"
        return execute(
            command,
            Run(store, continued, request.emit, seen.facts.processes),
            rows=seen.rows,
            checkpoint=search.checkpoint,
            extended=settings.steps is not None,
            warnings=warnings,
        )


def _follow(command: str, record: RunRecord, asked: TrainSettings, request: Request[ResumeSettings]) -> Outcome:
    """The first process decides whether and from where the run goes on; the others wait for it."""
    with observed(asked, origins=Origins(), keep_rows=True, emit=request.emit) as seen:
        absent = _absent(seen.facts)
        if absent:
            return refused(command, absent)
        assert seen.rows is not None, "the tokenizer was there"
        return follow(command, record.plan, rows=seen.rows, processes=seen.facts.processes)


def _absent(facts: TrainFacts) -> tuple[Problem, ...]:
    parts = (facts.model, facts.tokenizer, facts.data)
    return tuple(dict.fromkeys(part.problem for part in parts if isinstance(part, Absent)))


def _decide(
    record: RunRecord, checkpoint: Checkpoint | None, facts: TrainFacts, run_dir: Path, steps: int | None
) -> ResumePlan | Refused:
    assert not isinstance(facts.model, Absent)
    assert not isinstance(facts.tokenizer, Absent)
    assert not isinstance(facts.data, Absent)
    return plan_resume(
        record,
        checkpoint.manifest if checkpoint else None,
        run_dir=str(run_dir),
        model_fingerprint=model_fingerprint(facts.model, facts.tokenizer),
        data_fingerprint=data_fingerprint(facts.data),
        hardware=facts.hardware,
        software=facts.software,
        processes=facts.processes,
        steps=steps,
        num_checkpoints=len(list_checkpoints(run_dir)),
    )


def _continue(store: HistoryStore, record: RunRecord, decided: ResumePlan) -> RunRecord:
    """The record says that the run goes on, in this process; what was measured beyond the checkpoint is dropped."""
    store.truncate_events(record.run_id, decided.from_step)
    return store.update(
        record.run_id,
        lambda before: attrs.evolve(
            before,
            run_status=RunStatus.RUNNING,
            worker=this_worker(),
            ended_at=None,
            problem=None,
            plan=decided.plan,
            num_steps=decided.num_steps,
            steps_done=decided.from_step,
            fingerprints=attrs.evolve(before.fingerprints, plan=fingerprint(decided.plan)),
            resumed_from=(*before.resumed_from, decided.from_step),
        ),
    )
