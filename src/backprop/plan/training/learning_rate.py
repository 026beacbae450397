"""How fast the weights move: peak learning rate, warm-up and schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from backprop.plan.decision import Decision, Problem, warning
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Scheduler, TrainingSettings, TrainMode
from backprop.plan.training.chosen import given, set_by

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
INVERSE_SQRT_TIMESCALE = 10_000
"""Of the schedule without a warm-up, as in transformers."""


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
    return LearningRatePlan(peak=peak, scheduler=scheduler, warmup_steps=_warmup(settings, steps, origins))


def rate_at(plan: LearningRatePlan, step: int, *, steps: int) -> float:
    """The rate of the update that follows ``step`` finished ones, in a run of ``steps``; as transformers' schedules."""
    warmup = plan.warmup_steps.value
    peak, scheduler = plan.peak.value, plan.scheduler.value
    if scheduler is Scheduler.CONSTANT:
        return peak
    if step < warmup:
        return peak * step / warmup
    return peak * _after_warmup(scheduler, step - warmup, rest=max(1, steps - warmup), warmup=warmup)


def _after_warmup(scheduler: Scheduler, done: int, *, rest: int, warmup: int) -> float:
    """The share of the peak after ``done`` of the ``rest`` steps that follow the warm-up."""
    if scheduler is Scheduler.COSINE:
        return max(0.0, 0.5 * (1 + math.cos(math.pi * done / rest)))
    if scheduler is Scheduler.LINEAR:
        return max(0.0, 1 - done / rest)
    if scheduler is Scheduler.INVERSE_SQRT:
        timescale = warmup or INVERSE_SQRT_TIMESCALE
        return 1 / math.sqrt((done + timescale) / timescale)
    return 1.0


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


def check_learning_rate(plan: LearningRatePlan, *, steps: int, origins: Origins) -> tuple[Problem, ...]:
    """A warm-up that never ends, or that the schedule ignores."""
    problems = []
    if plan.warmup_steps.value >= steps and plan.warmup_steps.value > 0:
        problems.append(
            warning(
                "CONFIG_INVALID_SETTING",
                f"The warm-up of {plan.warmup_steps.value} steps is not over when the run ends after {steps}.",
                where=plan.warmup_steps.rule.removeprefix("set by "),
                hint="Lower --warmup-steps, or train longer.",
            )
        )
    warmup_asked = origins.of("training.warmup_steps") or origins.of("training.warmup_ratio")
    if plan.scheduler.value is Scheduler.CONSTANT and warmup_asked is not None:
        problems.append(
            warning(
                "CONFIG_INVALID_SETTING",
                f"{warmup_asked.name} has no effect with --lr-scheduler constant.",
                where=warmup_asked.name,
                hint="Use --lr-scheduler constant_with_warmup.",
            )
        )
    return tuple(problems)
