"""``backprop train``: look, decide, print the plan, execute exactly that plan."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path

import attrs

from backprop.effects.probe.dataset import mask_examples
from backprop.effects.probe.row_source import is_local
from backprop.effects.store.history import HistoryStore
from backprop.effects.store.liveness import this_worker
from backprop.plan.data.mask import MaskExample
from backprop.plan.decision import Refused
from backprop.plan.events import Planned
from backprop.plan.facts.absent import Absent
from backprop.plan.runs.continuation import continuation
from backprop.plan.runs.record import Fingerprints, RunRecord, settings_as_given, summarize_facts
from backprop.plan.runs.report import DryRunReport
from backprop.plan.runs.row import RunKind
from backprop.plan.runs.run_id import make_run_id, utc_text
from backprop.plan.settings.idle import Lack, idle_flags
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.verbs.runs import RunStatus
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.fingerprint import data_fingerprint, fingerprint, model_fingerprint
from backprop.plan.training.plan import TrainPlan, plan_train
from backprop.plan.wire.outcome import Outcome, ok, refused
from backprop.workflows import resume
from backprop.workflows.execution import Run, execute
from backprop.workflows.following import follow
from backprop.workflows.observation import Observation, observed
from backprop.workflows.request import Request

COMMAND = "train"


def run(request: Request[TrainSettings]) -> Outcome:
    """Plan a run and carry it out; with ``--dry-run`` stop at the plan, with ``--resume`` go on with an earlier run."""
    settings = request.settings
    if settings.resume is not None:
        earlier, ignored = continuation(settings, request.origins)
        again = Request(earlier, request.origins, (*request.warnings, *ignored), request.emit, request.log)
        return resume.run(again, command=COMMAND)
    with observed(settings, origins=request.origins, keep_rows=not settings.dry_run, emit=request.emit) as seen:
        plan = plan_train(settings, seen.facts, origins=request.origins)
        if isinstance(plan, Refused):
            return refused(COMMAND, (*plan.problems, *request.warnings))
        idle = idle_flags(request.origins, {Lack.SPLITS: is_local(plan.data.train.name)})
        warnings = (*plan.warnings, *idle, *request.warnings)
        examples = _examples(settings, seen, plan)
        if settings.dry_run:
            return ok(COMMAND, DryRunReport(plan, fingerprint(plan), examples), warnings=warnings)
        assert seen.rows is not None, "a plan that is executed was made from tokenized rows"
        processes = seen.facts.processes
        if not processes.is_first:
            return follow(COMMAND, plan, rows=seen.rows, processes=processes)
        request.emit(Planned(plan, examples, warnings))
        store = HistoryStore(Path(settings.training.output_dir).absolute())
        record = _record(settings, request.origins, seen.facts, plan)
        with store.run_lock(record.run_id):
            store.start(record)
            run = Run(store, record, request.emit, processes)
            return execute(COMMAND, run, rows=seen.rows, checkpoint=None, warnings=warnings)


def _examples(settings: TrainSettings, seen: Observation, plan: TrainPlan) -> tuple[MaskExample, ...]:
    if not settings.show_mask or isinstance(seen.tokenizer, Absent):
        return ()
    return mask_examples(
        settings.data,
        max_seq_length=plan.batch.sequence_length.value,
        tokenizer=seen.tokenizer,
        count=settings.show_mask,
        method=settings.training.method,
    )


def _record(settings: TrainSettings, origins: Origins, facts: TrainFacts, plan: TrainPlan) -> RunRecord:
    now = datetime.now(UTC)
    return RunRecord(
        run_id=make_run_id(now, secrets.randbits(20)),
        kind=RunKind.TRAIN,
        created_at=utc_text(now),
        run_status=RunStatus.RUNNING,
        worker=this_worker(),
        model=plan.model.name,
        data=plan.data.train.name,
        num_steps=plan.length.steps.value,
        plan=plan,
        facts=summarize_facts(facts.hardware, facts.software, plan.model, plan.data),
        fingerprints=Fingerprints(
            plan=fingerprint(plan),
            model=model_fingerprint(plan.model, plan.tokenizer),
            data=data_fingerprint(plan.data),
        ),
        settings=settings_as_given(_located(settings), origins),
    )


def _located(settings: TrainSettings) -> TrainSettings:
    """Files by their absolute paths: the run may be continued from another directory."""
    data = settings.data
    return attrs.evolve(
        settings,
        data=attrs.evolve(data, chat_template=_absolute(data.chat_template), eval_split=_absolute(data.eval_split)),
    )


def _absolute(name: str | None) -> str | None:
    return str(Path(name).absolute()) if name and Path(name).is_file() else name
