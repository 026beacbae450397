"""The planned batches as torch sees them: stored rows, packed and ordered by the plan, padded into tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from backprop.effects.train.task import Rows
from backprop.plan.data.packing import pack
from backprop.plan.memory.objective import Objective
from backprop.plan.training.order import micro_batches, updates
from backprop.plan.training.plan import TrainPlan
from backprop.plan.training.rail import Rail

IGNORED_LABEL = -100
Tensors = dict[str, torch.Tensor]


class Sequences(Dataset[Tensors]):
    """Sequence i is the rows of bin i, one after the other; unpacked, every bin holds one row."""

    def __init__(self, rows: Rows, *, packed_length: int | None) -> None:
        self._rows = rows
        self._bins: tuple[tuple[int, ...], ...] | None = None
        if packed_length is not None:
            self._bins = pack([rows.length(i) for i in range(len(rows))], packed_length)

    def __len__(self) -> int:
        return len(self._rows) if self._bins is None else len(self._bins)

    def __getitem__(self, index: int) -> Tensors:
        """``input_ids``, ``labels``, ``position_ids``: (T,) each; positions begin anew in every row."""
        rows = (index,) if self._bins is None else self._bins[index]
        parts = [self._row(row) for row in rows]
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}

    def num_tokens(self, index: int) -> int:
        """Tokens of a sequence."""
        rows = (index,) if self._bins is None else self._bins[index]
        return sum(self._rows.length(row) for row in rows)

    def width(self, index: int) -> int:
        """Tokens that it is padded to at least."""
        return self.num_tokens(index)

    def _row(self, index: int) -> Tensors:
        return tensors_of(self._rows, index)


def tensors_of(rows: Rows, index: int) -> Tensors:
    """A stored row: ``input_ids``, ``labels``, ``position_ids``, (T,) each."""
    ids, learned = rows.row(index)
    input_ids = torch.frombuffer(ids, dtype=torch.int32).long()
    labels = input_ids.masked_fill(torch.frombuffer(learned, dtype=torch.uint8) == 0, IGNORED_LABEL)
    # The first token of a row has nothing before it to be predicted from; in a packed sequence it would
    # otherwise be predicted from the row before.
    labels[:1] = IGNORED_LABEL
    return {"input_ids": input_ids, "labels": labels, "position_ids": torch.arange(len(input_ids))}


class PlannedOrder(Sampler[list[int]]):
    """Micro-batches of sequence numbers, epoch after epoch without a gap, for exactly the planned steps.

    Of several processes each has its share of every update, and as many micro-batches as the others.
    """

    def __init__(self, plan: TrainPlan, num_sequences: int, *, rank: int = 0) -> None:
        self._plan = plan
        self._num_sequences = num_sequences
        self._rank = rank

    def __len__(self) -> int:
        return self._plan.length.steps.value * self._plan.batch.accumulation.value

    def __iter__(self) -> Iterator[list[int]]:
        for update in updates(self._plan, self._num_sequences):
            yield from micro_batches(update, self._plan.batch, rank=self._rank)


class Collator:
    """Pads sequences on the right to the longest of the batch.

    Packed sequences carry ``position_ids`` and no attention mask: transformers derives from restarting positions that
    rows must not see one another. Padding restarts at 0 in every place, so it is seen by nothing.
    """

    def __init__(self, *, pad_token_id: int, packing: bool) -> None:
        self._pad = {"input_ids": pad_token_id, "labels": IGNORED_LABEL, "position_ids": 0}
        self._packing = packing

    def __call__(self, sequences: list[Tensors]) -> Tensors:
        """Tensors of shape (B, T)."""
        batch = {
            key: torch.nn.utils.rnn.pad_sequence([s[key] for s in sequences], batch_first=True, padding_value=value)
            for key, value in self._pad.items()
        }
        if self._packing:
            return batch
        lengths = torch.tensor([len(s["input_ids"]) for s in sequences])
        del batch["position_ids"]
        batch["attention_mask"] = (torch.arange(batch["input_ids"].shape[1]) < lengths[:, None]).long()
        return batch


class Pairs(Dataset[tuple[Tensors, Tensors]]):
    """Row i is two answers to one prompt, the chosen one first; they are stored one after the other."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows) // 2

    def __getitem__(self, index: int) -> tuple[Tensors, Tensors]:
        return tensors_of(self._rows, 2 * index), tensors_of(self._rows, 2 * index + 1)

    def num_tokens(self, index: int) -> int:
        """Tokens of both answers."""
        return self._rows.length(2 * index) + self._rows.length(2 * index + 1)

    def width(self, index: int) -> int:
        """Tokens that both are padded to at least."""
        return max(self._rows.length(2 * index), self._rows.length(2 * index + 1))


class PairCollator:
    """Chosen answers first, rejected ones behind them in the same order: (2 · rows, T)."""

    def __init__(self, collator: Collator) -> None:
        self._collator = collator

    def __call__(self, pairs: list[tuple[Tensors, Tensors]]) -> Tensors:
        return self._collator([pair[side] for side in (0, 1) for pair in pairs])


class RatedAnswers(Dataset[Tensors]):
    """Row i is an answer with its prompt; ``is_good``, (), besides what every row has."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Tensors:
        return {**tensors_of(self._rows, index), "is_good": torch.tensor(self._rows.is_good(index))}

    def num_tokens(self, index: int) -> int:
        """Tokens of the answer and its prompt."""
        return self._rows.length(index)

    def width(self, index: int) -> int:
        """Tokens that it is padded to at least."""
        return self._rows.length(index)


class RatedCollator:
    """Padded answers, and ``is_good`` of each: (rows,)."""

    def __init__(self, collator: Collator) -> None:
        self._collator = collator

    def __call__(self, answers: list[Tensors]) -> Tensors:
        return {**self._collator(answers), "is_good": torch.stack([answer["is_good"] for answer in answers])}


class TrainingBatches:
    """Every micro-batch of the run in order; a loader that skips the first n gives what follows them."""

    def __init__(self, plan: TrainPlan, rows: Rows, *, rank: int = 0) -> None:
        sequences, self.collator = _batching(plan, rows)
        assert len(sequences) == plan.length.sequences, "the rows are those that were planned for"
        order = PlannedOrder(plan, len(sequences), rank=rank)
        self.loader: DataLoader[Tensors] = DataLoader(
            cast("Dataset[Any]", sequences),
            batch_sampler=order,
            collate_fn=self.collator,
            pin_memory=plan.rail.value is Rail.CUDA,
        )
        self._sequences = sequences
        self._order = order
        self._updates = enumerate(updates(plan, len(sequences)), start=1)

    def longest(self) -> Tensors:
        """The micro-batch of the run that takes most room, padding included; of equals the first."""

        def room(batch: list[int]) -> int:
            return len(batch) * max(self._sequences.width(i) for i in batch)

        return self.collator([self._sequences[i] for i in max(self._order, key=room)])

    def tokens_in_step(self, step: int) -> int:
        """Tokens of a step, of all processes, padding left out; steps are asked for in ascending order."""
        update = next((update for number, update in self._updates if number == step), [])
        return sum(self._sequences.num_tokens(i) for i in update)


def heldout_batches(plan: TrainPlan, rows: Rows, *, size: int) -> DataLoader[Tensors]:
    """The held-out rows once, unpacked, in the order of the file, ``size`` at a time."""
    sequences, collator = _batching(plan, rows, may_pack=False)
    return loader_of(sequences, collator, size=size)


def loader_of(sequences: Dataset[Any], collator: Callable[[list[Any]], Tensors], *, size: int) -> DataLoader[Tensors]:
    """Every sequence once and in order, ``size`` at a time."""
    return DataLoader(
        sequences,
        batch_size=size,
        collate_fn=collator,
        # Without a generator of its own a loader draws from the one that dropout draws from.
        generator=torch.Generator(),
    )


Batching = tuple["Sequences | Pairs | RatedAnswers", Callable[[list[Any]], Tensors]]
"""Rows by number, and how some of them become a batch."""


def _batching(plan: TrainPlan, rows: Rows, *, may_pack: bool = True) -> Batching:
    """As the method wants them."""
    method = plan.objective.method.value
    packed_length = plan.batch.packed_length if may_pack else None
    collator = Collator(pad_token_id=pad_id(plan), packing=packed_length is not None)
    if method.is_paired:
        return Pairs(rows), PairCollator(collator)
    if method is Objective.KTO:
        return RatedAnswers(rows), RatedCollator(collator)
    return Sequences(rows, packed_length=packed_length.value if packed_length else None), collator


def pad_id(plan: TrainPlan) -> int:
    assert plan.tokenizer is not None, "a plan without a tokenizer is only ever printed"
    return plan.tokenizer.pad_token_id
