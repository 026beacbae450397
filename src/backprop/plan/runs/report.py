"""What ``train`` and ``resume`` report."""

from __future__ import annotations

import attrs

from backprop.plan.data.mask import MaskExample
from backprop.plan.settings.verbs.runs import RunStatus
from backprop.plan.training.plan import TrainPlan


@attrs.frozen
class DryRunReport:
    """The plan that would run, and the rows that were asked to be seen."""

    plan: TrainPlan
    fingerprint: str
    examples: tuple[MaskExample, ...] = ()
    from_step: int = 0
    """Steps of the plan that are done already; 0 for a new run."""


@attrs.frozen
class TrainReport:
    """A run: what was planned, and how it ended. Losses are mean nats a supervised token."""

    run_id: str
    run_status: RunStatus
    run_dir: str
    adapter: str | None
    """The directory of the adapter; None when the run did not finish, or trained every weight."""
    full_model: str | None
    """The directory of the model that full fine-tuning made; None when the run did not finish, or made an adapter."""
    steps_done: int
    num_steps: int
    last_loss: float | None
    best_loss: float | None
    best_step: int | None
    train_seconds: float | None
    fingerprint: str
    plan: TrainPlan = attrs.field(repr=False)
