"""One training run in MLX: load, train, evaluate, save; told by the same hooks as a run on torch."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from contextlib import nullcontext
from pathlib import Path

import attrs
import mlx.core as mx
from transformers import TrainerControl, TrainerState

from backprop.effects.mlx.learner import Learner, heldout_loss, pad_id
from backprop.effects.mlx.model import load_adapted, peft_weights, recomputed_activations, set_peft_weights
from backprop.effects.mlx.translation import translated
from backprop.effects.quiet import quiet_libraries
from backprop.effects.train.interrupts import StopRequest, stop_requests
from backprop.effects.train.reporting import Emit, Evaluator, StepReporter, Stopper
from backprop.effects.train.task import TrainResult, TrainTask
from backprop.plan.events import MemoryChecked, Stage
from backprop.plan.runs.checkpoint import checkpoint_name, checkpoint_step
from backprop.plan.training.arguments import adapter_config
from backprop.plan.training.order import updates
from backprop.plan.training.plan import TrainPlan

ADAPTER_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
STATE_FILE = "mlx_state.safetensors"


def train(plan: TrainPlan, task: TrainTask, *, emit: Emit) -> TrainResult:
    """Execute the plan. Raises ``BackpropError`` with RUNTIME_, DEP_ codes; KeyboardInterrupt at a second Ctrl-C."""
    with quiet_libraries(), stop_requests() as request:
        emit(Stage("loading the model"))
        if mx.metal.is_available():
            mx.set_wired_limit(int(mx.device_info()["max_recommended_working_set_size"]))
        model = load_adapted(plan, task.model_dir)
        learner = Learner(plan, model, task.rows)
        where = str(task.staging_dir.parent)
        with (
            recomputed_activations(model) if plan.gradient_checkpointing.value else nullcontext(),
            translated("RUNTIME_TRAINING_FAILED", "Training stopped", where=where),
        ):
            emit(MemoryChecked(None, None, None, "not measured on the MLX rail"))
            return _train(_Run(plan, task, learner, request, emit))


@attrs.frozen
class _Run:
    """What a run works with."""

    plan: TrainPlan
    task: TrainTask
    learner: Learner
    request: StopRequest
    emit: Emit


def _train(run: _Run) -> TrainResult:
    plan, task, emit = run.plan, run.task, run.emit
    start = _restore(run.learner, task.resume_from) if task.resume_from else 0
    state = TrainerState(global_step=start, max_steps=plan.length.steps.value)
    planned = list(itertools.islice(enumerate(updates(plan, len(task.rows))), start, None))
    tokens = {step + 1: sum(task.rows.length(i) for i in update) for step, update in planned}
    reporter = StepReporter(plan, emit=emit, tokens_in_step=tokens.__getitem__)
    evaluator, stopper = _evaluator(run), Stopper(run.request, emit=emit)
    emit(Stage("training"))
    begun = time.perf_counter()
    reporter.on_train_begin(None, state, TrainerControl())
    for step, update in planned:
        loss, norm = run.learner.update(step, update)
        state.global_step = step + 1
        control = TrainerControl(should_save=_is_saved(plan, step + 1))
        stopper.on_substep_end(None, state, control)
        for callback in (evaluator, stopper):
            if callback is not None:
                callback.on_step_end(None, state, control)
        logs = {"loss": loss, "grad_norm": norm, "learning_rate": run.learner.rate(step)}
        reporter.on_log(None, state, control, logs=logs)
        if control.should_save:
            _save(run, step + 1)
        if control.should_training_stop:
            break
    return TrainResult(state.global_step, stopper.stopped, time.perf_counter() - begun)


def _is_saved(plan: TrainPlan, step: int) -> bool:
    return step % plan.checkpoints.every.value == 0 or step == plan.length.steps.value


def _evaluator(run: _Run) -> Evaluator | None:
    if run.plan.evaluation is None:
        return None
    heldout = run.task.heldout
    assert heldout is not None
    evaluator = Evaluator(run.plan, state=run.task.evaluations, emit=run.emit)
    size, pad = run.plan.batch.micro_batch.value, pad_id(run.plan)
    evaluator.measure = lambda: heldout_loss(run.learner.model, heldout, size=size, pad=pad)
    return evaluator


def _save(run: _Run, step: int) -> None:
    """A checkpoint whose adapter is one of PEFT's, so that it is handed over like any other."""
    assert run.plan.adapter is not None
    staged = run.task.staging_dir / checkpoint_name(step)
    where = str(run.task.staging_dir)
    try:
        with translated("RUNTIME_TRAINING_FAILED", f"The checkpoint of step {step} cannot be written", where=where):
            staged.mkdir(parents=True)
            mx.save_safetensors(str(staged / ADAPTER_FILE), peft_weights(run.learner.model), {"format": "pt"})
            config = adapter_config(run.plan.adapter, run.plan.model)
            (staged / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            mx.save_safetensors(str(staged / STATE_FILE), run.learner.state())
            run.task.commit_checkpoint(staged, step)
    finally:
        shutil.rmtree(run.task.staging_dir, ignore_errors=True)


def _restore(learner: Learner, checkpoint: Path) -> int:
    """Let the learner be what it was at the checkpoint; its step."""
    set_peft_weights(learner.model, mx.load(str(checkpoint / ADAPTER_FILE)))
    learner.restore(mx.load(str(checkpoint / STATE_FILE)))
    return checkpoint_step(checkpoint.name) or 0
