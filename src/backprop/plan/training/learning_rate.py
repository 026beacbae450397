"""How fast the weights move: peak learning rate, warm-up and schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from backprop.plan.decision import Decision, Problem, warning
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Scheduler, TrainingSettings, TrainMode
from backprop.plan.training.chosen import given, name_of, set_by

FULL_FINE_TUNING_RATE = 2e-5
LORA_RATE = 10 * FULL_FINE_TUNING_RATE
"""The best LoRA rate is about ten times full fine-tuning's, nearly whatever the rank (arXiv:2405.09673)."""
DEFAULT_RATES: Mapping[TrainMode, Decision[float]] = {
    TrainMode.LORA: Decision(LORA_RATE, "LoRA default", "Ten times full fine-tuning's 2e-5 (arXiv:2405.09673)."),
    TrainMode.FULL: Decision(
        FULL_FINE_TUNING_RATE, "full fine-tuning default", "A tenth of LoRA's 2e-4 (arXiv:2405.09673)."
    ),
}
DEFAULT_WARMUP_STEPS = 10


@attrs.frozen
class LearningRatePlan:
    """The rate rises from zero to the peak over the warm-up, then follows the schedule to the last step."""

    peak: Decision[float]
    scheduler: Decision[Scheduler]
    warmup_steps: Decision[int]


def plan_learning_rate(settings: TrainingSettings, *, steps: int, origins: Origins) -> LearningRatePlan:
    """An explicit rate always wins; unset is 2e-5 for full fine-tuning, ten times that for an adapter."""
    asked = settings.learning_rate
    peak = given(origins, "training.learning_rate", asked) if asked is not None else DEFAULT_RATES[settings.mode]
    scheduler = set_by(origins, "training.lr_scheduler_type", settings.lr_scheduler_type) or Decision(
        settings.lr_scheduler_type, "default", "The rate falls smoothly to zero at the last step."
    )
    if scheduler.value is Scheduler.CONSTANT:
        return LearningRatePlan(peak=peak, scheduler=scheduler, warmup_steps=_NO_WARMUP)
    return LearningRatePlan(peak=peak, scheduler=scheduler, warmup_steps=_warmup(settings, steps, origins))


_NO_WARMUP = Decision(0, "constant schedule", "The rate is the peak from the first step; constant_with_warmup rises.")


def _warmup(settings: TrainingSettings, steps: int, origins: Origins) -> Decision[int]:
    if settings.warmup_steps is not None:
        return given(origins, "training.warmup_steps", settings.warmup_steps)
    if settings.warmup_ratio is not None:
        value = math.ceil(settings.warmup_ratio * steps)
        return given(origins, "training.warmup_ratio", value)
    value = min(DEFAULT_WARMUP_STEPS, steps // 10)
    if value == 0:
        return Decision(0, "10 steps, at most a tenth", "The run is too short for a gentle start.")
    return Decision(value, "10 steps, at most a tenth", "A gentle start, while the optimizer's averages fill.")


def check_learning_rate(
    settings: TrainingSettings, plan: LearningRatePlan, *, steps: int, origins: Origins
) -> tuple[Problem, ...]:
    """A warm-up that never ends, or that the schedule ignores."""
    name = _warmup_name(settings, origins)
    if name is None:
        return ()
    if plan.scheduler.value is Scheduler.CONSTANT:
        return (
            warning(
                "CONFIG_INVALID_SETTING",
                f"{name} has no effect with --lr-scheduler constant.",
                where=name,
                hint="Use --lr-scheduler constant_with_warmup.",
            ),
        )
    if plan.warmup_steps.value < steps or plan.warmup_steps.value == 0:
        return ()
    return (
        warning(
            "CONFIG_INVALID_SETTING",
            f"The warm-up of {plan.warmup_steps.value} steps is not over when the run ends after {steps}.",
            where=name,
            hint="Lower --warmup-steps, or train longer.",
        ),
    )


def _warmup_name(settings: TrainingSettings, origins: Origins) -> str | None:
    """What asked for a warm-up; None when it is left to the planner, whose warm-up is always over in time."""
    if settings.warmup_steps is not None:
        return name_of(origins, "training.warmup_steps", "--warmup-steps")
    if settings.warmup_ratio is not None:
        return name_of(origins, "training.warmup_ratio", "--warmup-ratio")
    return None
