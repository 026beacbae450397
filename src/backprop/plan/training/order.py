"""Which sequences make each update, and which of them each process passes through the model at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from backprop.plan.data.order import epoch_order
from backprop.plan.training.batch import BatchPlan
from backprop.plan.training.plan import TrainPlan


def updates(plan: TrainPlan, num_sequences: int) -> Iterator[list[int]]:
    """The sequence numbers of each planned update, epoch after epoch without a gap."""
    stream = _stream(plan, num_sequences)
    for _ in range(plan.length.steps.value):
        yield list(itertools.islice(stream, plan.batch.effective))


def micro_batches(update: list[int], batch: BatchPlan, *, rank: int = 0) -> Iterator[list[int]]:
    """What one process passes through the model at once, pass after pass; its share of the update in all."""
    share = update[rank * batch.share : (rank + 1) * batch.share]
    size = batch.micro_batch.value
    yield from (share[start : start + size] for start in range(0, len(share), size))


def _stream(plan: TrainPlan, num_sequences: int) -> Iterator[int]:
    for epoch in itertools.count():
        yield from epoch_order(num_sequences, seed=plan.seed, epoch=epoch, shuffle=plan.shuffle)
