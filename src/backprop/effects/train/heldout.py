"""The held-out loss: a mean over supervised tokens, taken in passes as large as memory allows."""

from __future__ import annotations

import itertools
import traceback

import torch
from torch.utils.data import DataLoader

from backprop.effects.train.preference_trainer import PreferenceTrainer
from backprop.effects.train.recovery import Recovery, release_memory
from backprop.effects.train.reporting import Measured
from backprop.effects.train.sequences import Tensors, heldout_batches
from backprop.effects.train.task import Rows
from backprop.effects.train.together import Together
from backprop.effects.train.trainer import PlannedTrainer
from backprop.effects.train.translation import is_out_of_memory
from backprop.plan.events import Pass
from backprop.plan.training.plan import TrainPlan

ALONE = Together()


def recovering_heldout_loss(
    trainer: PlannedTrainer, plan: TrainPlan, rows: Rows, recovery: Recovery, group: Together
) -> Measured:
    """:func:`heldout_loss`, begun again with smaller passes when memory runs out; training is not touched by that.

    One of several processes cannot begin again alone.
    """
    while True:
        try:
            size = recovery.state.heldout_batch
            if isinstance(trainer, PreferenceTrainer):
                return trainer.heldout(plan, rows, size=size)
            return heldout_loss(trainer, heldout_batches(plan, rows, size=size), group)
        except Exception as wrong:
            if not is_out_of_memory(wrong) or group.processes.count > 1:
                raise
            traceback.clear_frames(wrong.__traceback__)
        release_memory()
        recovery.go_on(Pass.EVALUATION, step=trainer.state.global_step)


def heldout_loss(trainer: PlannedTrainer, batches: DataLoader[Tensors], group: Together = ALONE) -> Measured:
    """Mean negative log-likelihood over all supervised tokens, in nats, and their number; the same in each process."""
    model, processes = trainer.model, group.processes
    mine = batches if trainer.is_sharded else itertools.islice(batches, processes.rank, None, processes.count)
    was_training = model.training
    model.eval()
    total, num_tokens = 0.0, 0
    try:
        with torch.no_grad(), trainer.compute_loss_context_manager():
            for batch in mine:
                inputs = trainer._prepare_inputs(batch)
                outputs = model(**inputs, use_cache=False, fused_lm_head=True)
                total -= outputs.log_probs.double().sum().item()
                num_tokens += int(outputs.label_mask.sum())
    finally:
        model.train(was_training)
    if not trainer.is_sharded:
        parts = group.gathered((total, num_tokens))
        total, num_tokens = sum(part for part, _ in parts), sum(number for _, number in parts)
    return Measured(total / max(1, num_tokens), num_tokens)
