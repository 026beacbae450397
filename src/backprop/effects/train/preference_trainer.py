"""The loop of supervised fine-tuning with the loss of a preference method: no gradient is computed by other code.

Log-probabilities come from TRL's fused head, which scores the learned tokens alone, in tiles; full logits are never
made. A loss is the sum over the rows of a pass divided by the rows of the whole update.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader

from backprop.effects.train.divergence import Mismatched, divergence, rows_of
from backprop.effects.train.preference_loss import Answers, Judged, RewardSums, kto, pair_loss
from backprop.effects.train.reporting import Measured, reward_logs
from backprop.effects.train.sequences import (
    Collator,
    RatedAnswers,
    Tensors,
    TrainingBatches,
    heldout_batches,
    loader_of,
    pad_id,
)
from backprop.effects.train.task import Rows
from backprop.effects.train.trainer import PlannedTrainer
from backprop.plan.memory.objective import Objective
from backprop.plan.training.arguments import loss_arguments
from backprop.plan.training.plan import TrainPlan


class PreferenceTrainer(PlannedTrainer):
    """Trains an adapter by comparing answers; for KTO the base model with the adapter off is the reference."""

    def __init__(self, plan: TrainPlan, *, batches: TrainingBatches, **rest: Any) -> None:
        super().__init__(plan, batches=batches, **rest)
        self._method = plan.objective.method.value
        self._coefficients = loss_arguments(plan)
        self._collator = Collator(pad_token_id=pad_id(plan), packing=False)
        self._longest = _longest(plan)
        self._micro_batch = plan.batch.micro_batch.value
        self._divergence = 0.0
        self._rewards = RewardSums()
        # Each loss is divided by the rows of the update, so that passes are added and not averaged.
        self.loss_is_scaled_for_ga = True

    def _get_num_items_in_batch(self, batch_samples: list[Tensors], device: torch.device) -> int:  # noqa: ARG002
        """Rows of an update, all of whose passes these are; for KTO the divergence is estimated from them, too."""
        num_rows = sum(self._num_rows(batch) for batch in batch_samples)
        if self._method is Objective.KTO and batch_samples:
            self._divergence = self._estimate(rows_of(batch_samples), size=self._micro_batch)
        return num_rows

    def compute_loss(
        self,
        model: torch.nn.Module,  # noqa: ARG002 - it is this trainer's
        inputs: Tensors,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """The part that a pass has in the mean loss of the rows of its update."""
        assert not return_outputs, "evaluations are our own"
        judged = self._judge(inputs)
        self._rewards += judged.rewards
        num_rows = num_items_in_batch if num_items_in_batch is not None else len(judged.losses)
        return judged.losses.sum() / num_rows

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """The rewards of the step beside its loss, by the names that TRL gives them."""
        if "loss" in logs:
            logs.update(reward_logs(self._rewards.rewards()))
            self._rewards = RewardSums()
        super().log(logs, start_time)

    def rehearse(self, batch: Tensors) -> None:
        """As of any trainer; the rewards of it are no step's."""
        super().rehearse(batch)
        self._rewards = RewardSums()

    def heldout(self, plan: TrainPlan, rows: Rows, *, size: int) -> Measured:
        """The mean loss of held-out rows, ``size`` at a time, and their rewards; the divergence is that of all rows."""
        kept, total, num_rows, num_tokens, rewards = self._divergence, 0.0, 0, 0, RewardSums()
        with _evaluating(self.model), torch.no_grad(), self.compute_loss_context_manager():
            try:
                if self._method is Objective.KTO:
                    self._divergence = self._estimate(RatedAnswers(rows), size=size)
                for batch in heldout_batches(plan, rows, size=size):
                    judged = self._judge(self._prepare_inputs(batch))
                    total += judged.losses.double().sum().item()
                    num_rows += len(judged.losses)
                    num_tokens += int((batch["labels"][:, 1:] >= 0).sum())
                    rewards += judged.rewards
            finally:
                self._divergence = kept
        return Measured(total / max(1, num_rows), num_tokens, rewards.rewards())

    def _judge(self, inputs: Tensors) -> Judged:
        if self._method is not Objective.KTO:
            return pair_loss(self._method, self._score(inputs), self._coefficients)
        # The reference goes first: nothing of it is alive when the graph of the policy is built.
        reference = self._refer(inputs)
        return kto(
            self._score(inputs),
            reference=reference,
            is_good=inputs["is_good"],
            divergence=self._divergence,
            **self._coefficients,
        )

    def _score(self, inputs: Tensors) -> Answers:
        asked = {key: inputs[key] for key in ("input_ids", "attention_mask", "labels")}
        outputs = self.model_wrapped(**asked, use_cache=False, fused_lm_head=True)
        return Answers(outputs.log_probs.float().sum(1), outputs.label_mask.sum(1))

    def _refer(self, inputs: Tensors) -> Answers:
        """What the untouched base model gives to the answers."""
        with _evaluating(self.model), torch.no_grad(), self.model.disable_adapter():
            return self._score(inputs)

    def _estimate(self, rows: list[Tensors] | RatedAnswers, *, size: int) -> float:
        mismatched = Mismatched(rows, longest=self._longest)
        batches: DataLoader[Tensors] = loader_of(mismatched, self._collator, size=size)
        with _evaluating(self.model), torch.no_grad(), self.compute_loss_context_manager():
            prepared = (self._prepare_inputs(batch) for batch in batches)
            return divergence(prepared, policy=self._score, reference=self._refer)

    def _num_rows(self, batch: Tensors) -> int:
        return len(batch["input_ids"]) // self._method.sequences_per_row


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Without dropout, so that nothing random is drawn."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _longest(plan: TrainPlan) -> int:
    """Tokens of the longest row, which memory was planned for."""
    parts = [part.tokens for part in (plan.data.train, plan.data.heldout) if part is not None and part.tokens]
    lengths = [length for tokens in parts for length, _ in tokens.length_counts]
    return max(lengths, default=plan.batch.sequence_length.value)
