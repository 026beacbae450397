"""How long the run is: steps, epochs, tokens."""

from __future__ import annotations

import math

import attrs

from backprop.plan.data.packing import count_packed
from backprop.plan.decision import Decision
from backprop.plan.facts.dataset import DatasetFacts
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainingSettings
from backprop.plan.training.batch import BatchPlan
from backprop.plan.training.chosen import given

DEFAULT_STEPS = 100


@attrs.frozen
class LengthPlan:
    """The length of the run; a step is one update of the weights."""

    steps: Decision[int]
    sequences: int
    """Sequences in one pass over the data, packed ones when packing."""
    epochs: float
    """Passes over the data that the steps see."""
    tokens: int | None
    """Tokens that go through the model in all; None when the rows were not tokenized."""
    supervised_tokens: int | None


def plan_length(settings: TrainingSettings, *, data: DatasetFacts, batch: BatchPlan, origins: Origins) -> LengthPlan:
    """Steps as asked, or from the epochs asked; every update has the full batch, across the ends of epochs too."""
    sequences = max(1, _sequences(data, batch))
    steps = _steps(settings, sequences=sequences, effective=batch.effective, origins=origins)
    return with_steps(steps, sequences=sequences, data=data, batch=batch)


def with_steps(steps: Decision[int], *, sequences: int, data: DatasetFacts, batch: BatchPlan) -> LengthPlan:
    """The length that so many steps make."""
    epochs = steps.value * batch.effective / sequences
    tokens = data.tokens
    return LengthPlan(
        steps=steps,
        sequences=sequences,
        epochs=epochs,
        tokens=round(epochs * tokens.tokens) if tokens else None,
        supervised_tokens=round(epochs * tokens.supervised_tokens) if tokens else None,
    )


def _sequences(data: DatasetFacts, batch: BatchPlan) -> int:
    if data.tokens is None:
        return data.rows - data.num_broken
    if batch.packed_length is not None:
        return count_packed(data.tokens.length_counts, batch.packed_length.value)
    return data.tokens.sequences


def _steps(settings: TrainingSettings, *, sequences: int, effective: int, origins: Origins) -> Decision[int]:
    if settings.max_steps is not None:
        return given(origins, "training.max_steps", settings.max_steps)
    if settings.num_train_epochs is not None:
        steps = max(1, math.ceil(settings.num_train_epochs * sequences / effective))
        origin = origins.of("training.num_train_epochs")
        return Decision(
            steps,
            f"set by {origin.name if origin else '--epochs'}",
            f"{settings.num_train_epochs:g} passes over {sequences:,} sequences, {effective} a step; whole steps.",
        )
    return Decision(DEFAULT_STEPS, "default", "Enough to see whether the loss falls; set --steps or --epochs.")
