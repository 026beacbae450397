"""The tagged union that a run emits; progress, history and logs are functions of it."""

from __future__ import annotations

import enum
from typing import TypeAlias

import attrs

from backprop.plan.data.mask import MaskExample
from backprop.plan.decision import Problem
from backprop.plan.training.plan import TrainPlan


@attrs.frozen
class Planned:
    """The plan that will be executed; not recorded as an event, since the run's record holds it."""

    plan: TrainPlan
    examples: tuple[MaskExample, ...] = ()
    """Rows with what of them is learned, when they were asked for."""
    warnings: tuple[Problem, ...] = ()
    """What is to be known of the plan before hours go into it."""


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
class Written:
    """So much of an export stands on the disk; not recorded, only shown."""

    done_bytes: int
    total_bytes: int


@attrs.frozen
class Progressed:
    """An optimizer step ended; not recorded, only shown."""

    step: int
    num_steps: int
    loss: float
    tokens_per_second: float
    eta_seconds: float | None


@attrs.frozen
class Rewards:
    """How a preference method judges answers, as means; a reward is what the method makes of an answer's likelihood.

    Of ORPO and SimPO beta times the mean log-probability of its tokens, of KTO beta times the log-ratio to the base
    model, in nats.
    """

    chosen: float | None
    """Of better answers, or good ones; None where there were none."""
    rejected: float | None
    """Of worse answers, or bad ones."""
    accuracy: float
    """Share of pairs whose chosen answer has the larger reward; for KTO of answers on the right side of the
    divergence from the base model."""

    @property
    def margin(self) -> float | None:
        """By how much better answers are ahead; None where one side is missing."""
        return None if self.chosen is None or self.rejected is None else self.chosen - self.rejected


@attrs.frozen
class Step:
    """The loss and rates over the steps since the last one of its kind."""

    step: int
    num_steps: int
    epoch: float
    loss: float
    """Mean negative log-likelihood a supervised token, in nats; of a preference method the mean over rows."""
    learning_rate: float
    grad_norm: float | None
    tokens_per_second: float
    """All tokens that went through the model a second of wall time."""
    eta_seconds: float | None
    rewards: Rewards | None = None
    """None without a preference method."""


@attrs.frozen
class Evaluated:
    """The held-out loss at a step, in nats a supervised token; of a preference method the mean over rows."""

    step: int
    loss: float
    num_tokens: int
    is_best: bool
    rewards: Rewards | None = None
    """None without a preference method."""


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


class Pass(enum.Enum):
    """What the model was passed over when memory ran out."""

    TRAINING = "training"
    EVALUATION = "evaluation"


@attrs.frozen
class Recovered:
    """Memory ran out; the run goes on after ``step`` with smaller passes and the same updates."""

    step: int
    """Finished optimizer steps that are kept; for an evaluation the step that is evaluated."""
    number: int
    """Which recovery of the run this is, counted from 1."""
    during: Pass
    micro_batch: int
    """Sequences in a forward pass of training from now on."""
    accumulation: int
    heldout_batch: int
    """Sequences in a forward pass of an evaluation from now on."""


@attrs.frozen
class MemoryChecked:
    """The longest batch of the run went through the model before the first step; bytes of the card's memory."""

    planned_bytes: int | None
    """The peak that the plan expects; None when it expects none."""
    measured_bytes: int | None
    """The peak that torch handed out; None when it was not measured."""
    reserved_bytes: int | None
    """What torch's allocator held for that."""
    note: str
    """Which batch it was, or why nothing was measured."""


@attrs.frozen
class Paused:
    """The card is too hot: training waits after ``step``."""

    step: int
    celsius: int


@attrs.frozen
class Resumed:
    """Training goes on after a pause; ``celsius`` is None when the temperature can no longer be read."""

    step: int
    celsius: int | None
    paused_seconds: float


@attrs.frozen
class Warned:
    """Something that does not stop the run, as a code of the error catalogue."""

    step: int
    code: str
    message: str


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
    | Written
    | Progressed
    | Step
    | Evaluated
    | CheckpointSaved
    | CheckpointRemoved
    | StoppedEarly
    | Recovered
    | MemoryChecked
    | Paused
    | Resumed
    | Warned
    | Interrupted
    | Finished
    | Failed
)
