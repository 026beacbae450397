"""One training run on torch, TRL and PEFT: load, train, save."""

from __future__ import annotations

import time
from typing import Any

import torch
from peft import PeftModel
from torch.utils.data import DataLoader
from transformers import PreTrainedModel
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from backprop.effects.quiet import quiet_libraries
from backprop.effects.train.full_trainer import FullTrainer, OffloadedTrainer, own_optimizer
from backprop.effects.train.interrupts import stop_requests
from backprop.effects.train.loading import add_adapter, load_base, load_tokenizer, load_whole
from backprop.effects.train.offload import process_group, shard
from backprop.effects.train.reporting import Emit, Evaluator, StepReporter, Stopper
from backprop.effects.train.sequences import Tensors, TrainingBatches, heldout_batches
from backprop.effects.train.targets_alone import targets_alone
from backprop.effects.train.task import TrainResult, TrainTask
from backprop.effects.train.trainer import PlannedTrainer
from backprop.effects.train.translation import translated
from backprop.plan.events import Stage
from backprop.plan.training.plan import TrainPlan


def train(plan: TrainPlan, task: TrainTask, *, emit: Emit) -> TrainResult:
    """Execute the plan. Raises ``BackpropError`` with RUNTIME_, DEP_ codes; KeyboardInterrupt at a second Ctrl-C."""
    with quiet_libraries(), process_group(plan.offload):
        emit(Stage("loading the model"))
        model = _load(plan, task)
        tokenizer = load_tokenizer(task.model_dir, trust_remote_code=plan.trust_remote_code)
        with stop_requests() as request:
            stopper = Stopper(request, emit=emit)
            trainer = _trainer(plan, task, model, tokenizer, stopper, emit)
            emit(Stage("training"))
            begun = time.perf_counter()
            where = str(task.staging_dir.parent)
            with targets_alone(), translated("RUNTIME_TRAINING_FAILED", "Training stopped", where=where):
                trainer.train(resume_from_checkpoint=str(task.resume_from) if task.resume_from else None)
    return TrainResult(trainer.state.global_step, stopper.stopped, time.perf_counter() - begun)


def _load(plan: TrainPlan, task: TrainTask) -> PeftModel | PreTrainedModel:
    if plan.adapter is not None:
        return add_adapter(plan.adapter, load_base(plan, task.model_dir), base=plan.model)
    model = load_whole(plan, str(task.resume_from or task.model_dir))
    if plan.offload is not None:
        shard(model, plan)
    return model


def _trainer(
    plan: TrainPlan,
    task: TrainTask,
    model: PeftModel | PreTrainedModel,
    tokenizer: Any,
    stopper: Stopper,
    emit: Emit,
) -> PlannedTrainer:
    batches = TrainingBatches(plan, task.rows)
    evaluator = Evaluator(plan, state=task.evaluations, emit=emit) if plan.evaluation else None
    reporter = StepReporter(plan, emit=emit, tokens_in_step=batches.tokens_in_step)
    kind = PlannedTrainer if plan.adapter else OffloadedTrainer if plan.offload else FullTrainer
    trainer = kind(
        plan,
        model=model,
        tokenizer=tokenizer,
        batches=batches,
        callbacks=[reporter, *([evaluator] if evaluator else []), stopper],
        staging_dir=task.staging_dir,
        commit_checkpoint=task.commit_checkpoint,
        own_optimizer=own_optimizer(plan),
    )
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    if evaluator is not None:
        assert task.heldout is not None
        heldout = heldout_batches(plan, task.heldout)
        evaluator.measure = lambda: heldout_loss(trainer, heldout)
    return trainer


def heldout_loss(trainer: PlannedTrainer, batches: DataLoader[Tensors]) -> tuple[float, int]:
    """Mean negative log-likelihood over all supervised tokens, in nats, and their number."""
    model = trainer.model_wrapped
    was_training = model.training
    model.eval()
    total, num_tokens = 0.0, 0
    try:
        with torch.no_grad(), trainer.compute_loss_context_manager():
            for batch in batches:
                inputs = trainer._prepare_inputs(batch)
                outputs = model(**inputs, use_cache=False, fused_lm_head=True)
                total -= outputs.log_probs.double().sum().item()
                num_tokens += int(outputs.label_mask.sum())
    finally:
        model.train(was_training)
    return total / max(1, num_tokens), num_tokens
