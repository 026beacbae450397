"""The tagged union that a run emits; progress, history and logs are functions of it."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from backprop.plan.data.mask import MaskExample
from backprop.plan.training.plan import TrainPlan


@attrs.frozen
class Planned:
    """The plan that will be executed; not recorded as an event, since the run's record holds it."""

    plan: TrainPlan
    examples: tuple[MaskExample, ...] = ()
    """Rows with what of them is learned, when they were asked for."""


@attrs.frozen
class Started:
    """The run begins, or goes on after ``from_step`` finished optimizer steps."""

    run_id: str
    num_steps: int
    from_step: int = 0


@attrs.frozen
class Stage:
    """What the run is doing between its steps, such as ``loading the model``."""

    name: str


@attrs.frozen
class Progressed:
    """An optimizer step ended; not recorded, only shown."""

    step: int
    num_steps: int
    loss: float
    tokens_per_second: float
    eta_seconds: float | None


@attrs.frozen
class Step:
    """The loss and rates over the steps since the last one of its kind."""

    step: int
    num_steps: int
    epoch: float
    loss: float
    """Mean negative log-likelihood a supervised token, in nats."""
    learning_rate: float
    grad_norm: float | None
    tokens_per_second: float
    """All tokens that went through the model a second of wall time."""
    eta_seconds: float | None


@attrs.frozen
class Evaluated:
    """The held-out loss at a step, in nats a supervised token."""

    step: int
    loss: float
    num_tokens: int
    is_best: bool


@attrs.frozen
class CheckpointSaved:
    """A complete checkpoint stands at ``path``, relative to the run's directory."""

    step: int
    path: str


@attrs.frozen
class CheckpointRemoved:
    """A checkpoint left by the retention rule."""

    step: int
    path: str


@attrs.frozen
class StoppedEarly:
    """The held-out loss has not improved for the planned number of evaluations."""

    step: int
    best_step: int


@attrs.frozen
class Interrupted:
    """The user asked to stop; what was reached is saved."""

    step: int


@attrs.frozen
class Finished:
    """The run is complete; its adapter or its model is named relative to the output directory."""

    step: int
    adapter: str | None
    train_seconds: float
    full_model: str | None = None
    """What full fine-tuning made."""


@attrs.frozen
class Failed:
    """The run ended without completing."""

    step: int
    code: str
    message: str


Event: TypeAlias = (
    Planned
    | Started
    | Stage
    | Progressed
    | Step
    | Evaluated
    | CheckpointSaved
    | CheckpointRemoved
    | StoppedEarly
    | Interrupted
    | Finished
    | Failed
)
