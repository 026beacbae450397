"""KTO's estimate of how far the policy is from the base model, from answers that belong to other prompts.

The paper (arXiv:2402.01306, section 4) takes the mean over the batch of the log-ratio of prompt i and answer j, i ≠ j,
and nothing below zero; no gradient passes through it. As in TRL's KTOTrainer each prompt gets the answer of the row
before it, and the first that of the last. Here the batch is the whole update, of which memory may hold a part at a
time: so the estimate, like the loss, does not depend on how an update is cut into passes, and a pass of one row is
right, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch.utils.data import Dataset

from backprop.effects.train.preference_loss import Answers
from backprop.effects.train.sequences import IGNORED_LABEL, RatedAnswers, Tensors

Score = Callable[[Tensors], Answers]
"""The log-probabilities of the answers of a batch."""


def joined(prompt_of: Tensors, answer_of: Tensors, *, longest: int) -> Tensors:
    """The prompt of one row with the answer of another, at most ``longest`` tokens; what is learned of it stays so."""
    prompt, answer = _start(prompt_of), _start(answer_of)
    ids = torch.cat([prompt_of["input_ids"][:prompt], answer_of["input_ids"][answer:]])[:longest]
    labels = torch.cat([prompt_of["labels"][:prompt], answer_of["labels"][answer:]])[:longest]
    return {"input_ids": ids, "labels": labels, "position_ids": torch.arange(len(ids))}


def _start(row: Tensors) -> int:
    """The first token of a row that is learned."""
    return int((row["labels"] != IGNORED_LABEL).int().argmax())


class Mismatched(Dataset[Tensors]):
    """Row i is the prompt of row i with the answer of the row before it, the first with that of the last."""

    def __init__(self, rows: Sequence[Tensors] | RatedAnswers, *, longest: int) -> None:
        self._rows = rows
        self._longest = longest

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Tensors:
        before = (index - 1) % len(self._rows)
        return joined(self._rows[index], self._rows[before], longest=self._longest)


def rows_of(batches: Iterable[Tensors]) -> list[Tensors]:
    """The rows of padded batches, padding left out."""
    return [
        {key: batch[key][place, :length] for key in ("input_ids", "labels")}
        for batch in batches
        for place, length in enumerate(batch["attention_mask"].sum(1).tolist())
    ]


def divergence(batches: Iterable[Tensors], *, policy: Score, reference: Score) -> float:
    """The estimate from batches of mismatched rows, in nats; at least 0."""
    total, num_rows = 0.0, 0
    for batch in batches:
        difference = policy(batch).sums - reference(batch).sums
        total += difference.double().sum().item()
        num_rows += len(difference)
    return max(0.0, total / max(1, num_rows))
