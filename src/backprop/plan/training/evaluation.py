"""When the held-out loss is measured, which checkpoint is best, and when to stop early."""

from __future__ import annotations

import math
from collections.abc import Iterable

import attrs

from backprop.plan.decision import Decision, Problem, warning
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainingSettings
from backprop.plan.training.chosen import given


@attrs.frozen
class EvaluationPlan:
    """The held-out rows are never trained on; the loss is the mean over all their supervised tokens, in nats."""

    every: Decision[int]
    rows: int
    patience: int | None
    """Evaluations without a better loss after which the run stops; None never."""

    def count(self, steps: int) -> int:
        """Evaluations in so many steps, that of the last one included."""
        return -(-steps // self.every.value)


@attrs.frozen
class EvaluationState:
    """What the evaluations so far have shown."""

    best_loss: float | None = None
    best_step: int | None = None
    since_best: int = 0

    @classmethod
    def after(cls, measured: Iterable[tuple[int, float]]) -> EvaluationState:
        """The state that (step, loss) pairs lead to, in their order."""
        state = cls()
        for step, loss in measured:
            state = observe(state, step=step, loss=loss)
        return state


def observe(state: EvaluationState, *, step: int, loss: float) -> EvaluationState:
    """The state after one more evaluation; only a strictly lower loss is better, and none that is no number."""
    if math.isfinite(loss) and (state.best_loss is None or loss < state.best_loss):
        return EvaluationState(best_loss=loss, best_step=step)
    return attrs.evolve(state, since_best=state.since_best + 1)


def should_stop(state: EvaluationState, plan: EvaluationPlan) -> bool:
    """Whether the loss has not improved for the planned number of evaluations."""
    return plan.patience is not None and state.since_best >= plan.patience


def plan_evaluation(
    settings: TrainingSettings, *, heldout_rows: int | None, steps: int, origins: Origins
) -> EvaluationPlan | None:
    """None without held-out rows; else an evaluation every tenth of the run and at its end."""
    if not heldout_rows:
        return None
    asked = settings.eval_every
    every = (
        given(origins, "training.eval_every", asked)
        if asked is not None
        else Decision(max(1, steps // 10), "a tenth of the run", "Ten points are enough to see where it turns.")
    )
    return EvaluationPlan(every=every, rows=heldout_rows, patience=settings.early_stopping)


def check_evaluation(settings: TrainingSettings, plan: EvaluationPlan | None) -> tuple[Problem, ...]:
    """Settings that have no effect without held-out rows."""
    if plan is not None:
        return ()
    idle = [
        flag
        for flag, value in (("--eval-every", settings.eval_every), ("--early-stopping", settings.early_stopping))
        if value is not None
    ]
    return tuple(
        warning(
            "CONFIG_INVALID_SETTING",
            f"{flag} has no effect: nothing is held out.",
            where=flag,
            hint="Hold rows out with --eval-split 0.1 or --eval-split FILE.",
        )
        for flag in idle
    )
