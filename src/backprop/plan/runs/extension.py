"""A run made longer or shorter: what depends on its length is decided anew from its settings, everything else stays."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Decision
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainingSettings
from backprop.plan.training.checkpoints import plan_checkpoints
from backprop.plan.training.evaluation import plan_evaluation
from backprop.plan.training.learning_rate import plan_learning_rate
from backprop.plan.training.length import with_steps
from backprop.plan.training.plan import TrainPlan


def extend_plan(plan: TrainPlan, settings: TrainingSettings, *, steps: int, origins: Origins) -> TrainPlan:
    """The plan over another number of steps; ``settings`` and ``origins`` are those that it was made from.

    The schedule ends at the new last step, and warm-up, evaluations and checkpoints are those of a run of this length.
    Planning for the length itself gives the same plan.
    """
    if steps == plan.length.steps.value:
        return plan
    change = "Extended" if steps > plan.length.steps.value else "Shortened"
    why = f"{change} from {plan.length.steps.value}; the schedule now ends at the new last step."
    heldout = plan.evaluation.rows if plan.evaluation else None
    return attrs.evolve(
        plan,
        length=with_steps(
            Decision(steps, "set by --steps", why),
            sequences=plan.length.sequences,
            data=plan.data.train,
            batch=plan.batch,
        ),
        learning_rate=plan_learning_rate(settings, steps=steps, origins=origins),
        evaluation=plan_evaluation(settings, heldout_rows=heldout, steps=steps, origins=origins),
        checkpoints=plan_checkpoints(settings, origins=origins, num_bytes=plan.checkpoints.num_bytes),
    )
