"""One training run on torch, TRL and PEFT: load, train, and go on with smaller passes when memory runs out."""

from __future__ import annotations

import time
import traceback
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import attrs
from peft import PeftModel
from transformers import PreTrainedModel, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from backprop.effects.monitor import Card, CardMonitor, nvml_card
from backprop.effects.quiet import quiet_libraries
from backprop.effects.train.first_batch import CardMemory, CudaMemory, FirstBatch
from backprop.effects.train.first_weights import FirstWeights
from backprop.effects.train.full_trainer import FullTrainer, OffloadedTrainer, own_optimizer
from backprop.effects.train.heldout import recovering_heldout_loss
from backprop.effects.train.interrupts import StopRequest, stop_requests
from backprop.effects.train.loading import load_adapted, load_tokenizer, load_whole
from backprop.effects.train.offload import process_group, shard
from backprop.effects.train.preference_trainer import PreferenceTrainer
from backprop.effects.train.recovery import LastStep, Recovery, Start, forget_model, release_memory
from backprop.effects.train.reporting import Emit, Evaluator, Measured, PlannedIntervals, StepReporter, Stopper
from backprop.effects.train.sequences import TrainingBatches
from backprop.effects.train.targets_alone import targets_alone
from backprop.effects.train.task import CommitCheckpoint, Rows, TrainResult, TrainTask
from backprop.effects.train.together import Together, as_the_first, together
from backprop.effects.train.trackers import place_trackers, report_evaluation
from backprop.effects.train.trainer import PlannedTrainer
from backprop.effects.train.translation import is_out_of_memory, translated
from backprop.effects.train.unsloth import load_with_unsloth, wanted
from backprop.plan.errors import BackpropError
from backprop.plan.events import Event, Pass, Stage
from backprop.plan.memory.objective import Objective
from backprop.plan.training.plan import TrainPlan
from backprop.plan.training.rail import Rail


def train(
    plan: TrainPlan, task: TrainTask, *, emit: Emit, card: Card | None = None, memory: CardMemory | None = None
) -> TrainResult:
    """Execute the plan. Raises ``BackpropError`` with RUNTIME_, DEP_ codes; KeyboardInterrupt at a second Ctrl-C.

    ``card`` is what is watched and ``memory`` what is measured; None takes those of the plan's rail, and the CPU has
    none.
    """
    with together(plan, task.processes) as group, process_group(plan.offload, processes=task.processes.count):
        plan, task = as_the_first(group, plan, task)
        return _train(
            plan, task, group=group, emit=emit if task.processes.is_first else _silent, card=card, memory=memory
        )


def _silent(_event: Event) -> None:
    """What the processes that are not the first have to tell."""


def _train(
    plan: TrainPlan, task: TrainTask, *, group: Together, emit: Emit, card: Card | None, memory: CardMemory | None
) -> TrainResult:
    recovery = Recovery(plan, task.recoveries, emit=emit)
    start, seconds = Start(task.resume_from, task.evaluations), 0.0
    with quiet_libraries(), stop_requests() as request, _card(plan, task, card) as watched:
        monitor = CardMonitor(watched, request, emit=emit) if watched else None
        surroundings = _Surroundings(task, recovery, request, monitor, memory or _memory(plan), emit, group)
        while True:
            ended = _train_part(recovery.plan, start, surroundings)
            start, seconds = ended.start, seconds + ended.seconds
            if not ended.ran_out or request.is_set:
                break
            forget_model()
            recovery.go_on(Pass.TRAINING, step=start.step)
    if monitor is not None and monitor.problem is not None:
        raise BackpropError(monitor.problem)
    return TrainResult(start.step, ended.stopped or ended.ran_out, seconds)


def _card(plan: TrainPlan, task: TrainTask, card: Card | None) -> AbstractContextManager[Card | None]:
    watches = card is None and plan.rail.value is Rail.CUDA and task.processes.is_first
    return nvml_card() if watches else nullcontext(card)


def _memory(plan: TrainPlan) -> CardMemory | None:
    return CudaMemory() if plan.rail.value is Rail.CUDA else None


@attrs.frozen
class _Surroundings:
    """What stays the same when a run goes on with smaller passes."""

    task: TrainTask
    recovery: Recovery
    request: StopRequest
    monitor: CardMonitor | None
    memory: CardMemory | None
    emit: Emit
    group: Together


@attrs.frozen
class _Ended:
    """How a part of a run ended: where it would go on, and why it did not."""

    start: Start
    """The last committed checkpoint; that of the last step, unless memory ran out within an update."""
    ran_out: bool
    stopped: bool
    seconds: float


def _train_part(plan: TrainPlan, start: Start, around: _Surroundings) -> _Ended:
    """Train from ``start`` until the run ends or memory runs out; nothing that this loads is alive after it.

    As a resumed run does, every part loads the model anew and goes on from a checkpoint: a recovered run is right for
    the reason that a resumed one is, and no memory stays behind.
    """
    task, emit = around.task, around.emit
    emit(Stage("loading the model"))
    model, first_weights = _load(plan, task, start, emit=emit)
    tokenizer = load_tokenizer(task.model_dir, trust_remote_code=plan.trust_remote_code)
    stopper, last_step = Stopper(around.request, emit=emit, agree=around.group.any), LastStep()
    evaluator = Evaluator(plan, state=start.evaluations, emit=emit) if plan.evaluation else None
    saved = start

    def commit(staged: Path, step: int) -> Path:
        nonlocal saved
        around.group.wait()  # each process has put its random states there
        path = around.group.from_first(lambda: task.commit_checkpoint(staged, step))
        saved = Start(path, evaluator.state if evaluator else start.evaluations)
        return path

    where = str(task.staging_dir.parent)
    with targets_alone(), translated("RUNTIME_TRAINING_FAILED", "Training stopped", where=where):
        # A stop that is asked for while the monitor pauses is heard in the same step, so the stopper comes last.
        callbacks = [last_step, *(c for c in (evaluator, around.monitor) if c), stopper]
        trainer = _trainer(plan, around, model, tokenizer, callbacks, commit, first_weights)
        if evaluator is not None:
            heldout = task.heldout
            assert heldout is not None
            evaluator.measure = lambda: _measured(trainer, plan, heldout, around)
        emit(Stage("training"))
        begun = time.perf_counter()
        ran_out = _runs_out_of_memory(trainer, start, alone=around.group.processes.count == 1)
        if ran_out and last_step.finished is not None and last_step.finished > saved.step:
            last_step.restore_random_states()
            trainer.save_now()
    return _Ended(saved, ran_out, stopper.stopped, time.perf_counter() - begun)


def _measured(trainer: PlannedTrainer, plan: TrainPlan, rows: Rows, around: _Surroundings) -> Measured:
    try:
        measured = recovering_heldout_loss(trainer, plan, rows, around.recovery, around.group)
    except BackpropError:
        # No smaller pass helps the evaluation; the step before it is whole.
        trainer.save_now()
        raise
    if plan.trackers:
        report_evaluation(trainer, measured.loss)
    return measured


def _runs_out_of_memory(trainer: PlannedTrainer, start: Start, *, alone: bool) -> bool:
    """Train; True with the memory of the failed pass given back when it ran out, False when the run ended.

    One of several processes cannot go on with smaller passes while the others wait for its gradients.
    """
    try:
        trainer.train(resume_from_checkpoint=str(start.checkpoint) if start.checkpoint else None)
        return False
    except Exception as wrong:
        if not alone or not is_out_of_memory(wrong):
            raise
        # The frames of the failed pass hold its activations.
        traceback.clear_frames(wrong.__traceback__)
    trainer.model.zero_grad(set_to_none=True)
    release_memory()
    return True


def _load(
    plan: TrainPlan, task: TrainTask, start: Start, *, emit: Emit
) -> tuple[PeftModel | PreTrainedModel, FirstWeights | None]:
    card = task.processes.local_rank
    if plan.adapter is not None and wanted(plan):
        model = load_with_unsloth(plan, plan.adapter, task.model_dir, emit=emit)
        if model is not None:
            return model, None
    if plan.adapter is not None:
        return load_adapted(plan, task.model_dir, checkpoint=start.checkpoint, card=card)
    model = load_whole(plan, str(start.checkpoint or task.model_dir), card=card)
    if plan.offload is not None:
        shard(model, plan)
    return model, None


def _trainer(
    plan: TrainPlan,
    around: _Surroundings,
    model: PeftModel | PreTrainedModel,
    tokenizer: Any,
    callbacks: list[TrainerCallback],
    commit: CommitCheckpoint,
    first_weights: FirstWeights | None,
) -> PlannedTrainer:
    batches = TrainingBatches(plan, around.task.rows, rank=around.task.processes.rank)
    # What was planned for is the batch that the run began with.
    planned = around.task.planned_memory if not around.recovery.state.num_recoveries else None
    first = FirstBatch(around.memory, planned, emit=around.emit)
    reporter = StepReporter(plan, emit=around.emit, tokens_in_step=batches.tokens_in_step)
    trainer = _kind(plan)(
        plan,
        model=model,
        tokenizer=tokenizer,
        batches=batches,
        callbacks=[PlannedIntervals(), first, reporter, *callbacks],
        staging_dir=around.task.staging_dir,
        commit_checkpoint=commit,
        own_optimizer=own_optimizer(plan),
        first_weights=first_weights,
        run_name=around.task.run_id,
    )
    place_trackers(trainer, around.task.run_dir)
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    first.longest, first.rehearse = batches.longest, trainer.rehearse
    return trainer


def _kind(plan: TrainPlan) -> type[PlannedTrainer]:
    if plan.adapter is None:
        return OffloadedTrainer if plan.offload else FullTrainer
    return PlannedTrainer if plan.objective.method.value is Objective.SFT else PreferenceTrainer
