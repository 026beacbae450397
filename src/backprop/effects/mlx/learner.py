"""Updates of an adapter in MLX: the planned rows, the loss over their supervised tokens, AdamW, and its state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import mlx.core as mx
import numpy as np
from mlx import nn, optimizers
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from backprop.effects.train.reporting import Measured
from backprop.effects.train.task import Rows
from backprop.plan.settings.training import Optimizer
from backprop.plan.training.learning_rate import rate_at
from backprop.plan.training.order import micro_batches
from backprop.plan.training.plan import TrainPlan


@attrs.frozen
class Batch:
    """Rows padded on the right, where nothing before it sees the padding."""

    inputs: mx.array
    """Token ids, (B, T)."""
    learned: mx.array
    """1.0 where the next token is to be predicted, (B, T − 1)."""


class Learner:
    """A model and its optimizer, moved on one update at a time."""

    def __init__(self, plan: TrainPlan, model: nn.Module, rows: Rows) -> None:
        self.model = model
        self._plan = plan
        self._rows = rows
        self._optimizer = _optimizer(plan)
        self._optimizer.init(model.trainable_parameters())
        self._gradient = nn.value_and_grad(model, summed_loss)

    def update(self, step: int, sequences: list[int]) -> tuple[float, float]:
        """The update that follows ``step`` finished ones; (mean loss a supervised token in nats, gradient norm).

        What dropout draws depends on the plan's seed and the step alone.
        """
        mx.random.seed((self._plan.seed << 32) + step)
        plan, total = self._plan, mx.array(0.0)
        num_learned = max(1, sum(num_supervised(self._rows, i) for i in sequences))
        gradients: Any = None
        self.model.train()
        for numbers in micro_batches(sequences, plan.batch):
            loss, part = self._gradient(self.model, collated(self._rows, numbers, pad=pad_id(plan)), num_learned)
            gradients = part if gradients is None else tree_map(mx.add, gradients, part)
            total = total + loss
            mx.eval(total, gradients)
        gradients, norm = optimizers.clip_grad_norm(gradients, plan.max_grad_norm)
        self._optimizer.learning_rate = self.rate(step)
        self._optimizer.update(self.model, gradients)
        mx.eval(self.model.trainable_parameters(), self._optimizer.state)
        return float(total), float(norm)

    def rate(self, step: int) -> float:
        """The learning rate of the update that follows ``step`` finished ones."""
        return rate_at(self._plan.learning_rate, step, steps=self._plan.length.steps.value)

    def state(self) -> dict[str, mx.array]:
        """The optimizer's state by name; the weights are the adapter's own file."""
        return dict(tree_flatten(self._optimizer.state))

    def restore(self, state: dict[str, mx.array]) -> None:
        """Go on from a :meth:`state`, to the same bits."""
        self._optimizer.state = tree_unflatten(list(state.items()))


def heldout_loss(model: nn.Module, rows: Rows, *, size: int, pad: int) -> Measured:
    """Mean negative log-likelihood over all supervised tokens, in nats, and their number."""
    model.eval()
    total, count = 0.0, 0
    for start in range(0, len(rows), size):
        batch = collated(rows, list(range(start, min(start + size, len(rows)))), pad=pad)
        total += float(summed_loss(model, batch, 1))
        count += int(batch.learned.sum())
    return Measured(total / max(1, count), count)


def summed_loss(model: nn.Module, batch: Batch, num_learned: int) -> mx.array:
    """Negative log-likelihood of the supervised tokens, divided by ``num_learned``, those of the whole update."""
    logits = model(batch.inputs)[:, :-1].astype(mx.float32)
    losses = nn.losses.cross_entropy(logits, batch.inputs[:, 1:])
    loss: mx.array = (losses * batch.learned).sum() / num_learned
    return loss


def collated(rows: Rows, numbers: list[int], *, pad: int) -> Batch:
    """Rows by their numbers, as one batch."""
    parts = list(_read(rows, numbers))
    longest = max(len(ids) for ids, _ in parts)
    inputs = np.full((len(parts), longest), pad, dtype=np.int32)
    learned = np.zeros((len(parts), longest), dtype=np.float32)
    for i, (ids, mask) in enumerate(parts):
        inputs[i, : len(ids)], learned[i, : len(ids)] = ids, mask
    return Batch(mx.array(inputs), mx.array(learned[:, 1:]))


def num_supervised(rows: Rows, number: int) -> int:
    """Tokens of a row that are learned; its first has nothing before it to be predicted from."""
    return int(np.frombuffer(rows.row(number)[1], dtype=np.uint8)[1:].sum())


def pad_id(plan: TrainPlan) -> int:
    """What fills up shorter rows."""
    assert plan.tokenizer is not None, "a plan without a tokenizer is only ever printed"
    return plan.tokenizer.pad_token_id


def _read(rows: Rows, numbers: list[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for number in numbers:
        ids, mask = rows.row(number)
        yield np.frombuffer(ids, dtype=np.int32), np.frombuffer(mask, dtype=np.uint8) != 0


def _optimizer(plan: TrainPlan) -> optimizers.Optimizer:
    """As torch's of the same name, with its coefficients."""
    rate = plan.learning_rate.peak.value
    if plan.optimizer.value is Optimizer.SGD:
        return optimizers.SGD(rate, weight_decay=plan.weight_decay)
    return optimizers.AdamW(rate, betas=[0.9, 0.999], eps=1e-8, weight_decay=plan.weight_decay, bias_correction=True)
