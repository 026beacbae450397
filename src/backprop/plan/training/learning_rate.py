"""How fast the weights move: peak learning rate, warm-up and schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from backprop.plan.decision import Decision, Problem, warning
from backprop.plan.memory.objective import Objective
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
PREFERENCE_RATES: Mapping[Objective, Decision[float]] = {
    Objective.ORPO: Decision(8e-6, "ORPO default", "A small part of LoRA's 2e-4, for a model that answers already."),
    Objective.SIMPO: Decision(1e-6, "SimPO default", "The upper end of the authors' 3e-7 to 1e-6 (arXiv:2405.14734)."),
    Objective.KTO: Decision(1e-6, "KTO default", "Small, since the base model is the measure (arXiv:2402.01306)."),
}


@attrs.frozen
class Clamp:
    """A rate from which on a method is known to go wrong, and what is taken instead."""

    bound: float
    taken: float
    why: str


CLAMPS: Mapping[Objective, Clamp] = {
    Objective.SIMPO: Clamp(1e-5, 1e-6, "SimPO makes a model repeat itself at high rates (arXiv:2405.14734)."),
    Objective.KTO: Clamp(5e-6, 1e-6, "KTO moves too far from the base model at high rates (arXiv:2402.01306)."),
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
    """An explicit rate wins unless a method's clamp says otherwise; unset is 2e-5 for full fine-tuning, ten times that
    for an adapter, and the method's own where answers are compared.
    """
    asked = settings.learning_rate
    default = PREFERENCE_RATES.get(settings.method, DEFAULT_RATES[settings.mode])
    peak = default if asked is None else _clamped(settings.method, given(origins, "training.learning_rate", asked))
    scheduler = set_by(origins, "training.lr_scheduler_type", settings.lr_scheduler_type) or Decision(
        settings.lr_scheduler_type, "default", "The rate falls smoothly to zero at the last step."
    )
    if scheduler.value is Scheduler.CONSTANT:
        return LearningRatePlan(peak=peak, scheduler=scheduler, warmup_steps=_NO_WARMUP)
    return LearningRatePlan(peak=peak, scheduler=scheduler, warmup_steps=_warmup(settings, steps, origins))


_NO_WARMUP = Decision(0, "constant schedule", "The rate is the peak from the first step; constant_with_warmup rises.")


def _clamped(method: Objective, asked: Decision[float]) -> Decision[float]:
    clamp = CLAMPS.get(method)
    if clamp is None or asked.value < clamp.bound:
        return asked
    why = f"You asked for {asked.value:g}, which is {clamp.bound:g} or more. {clamp.why}"
    return Decision(clamp.taken, f"clamp of {method.value}", why)


def check_clamp(settings: TrainingSettings, *, origins: Origins) -> tuple[Problem, ...]:
    """A warning where another rate is taken than the one that was asked for."""
    asked, clamp = settings.learning_rate, CLAMPS.get(settings.method)
    if asked is None or clamp is None or asked < clamp.bound:
        return ()
    return (
        warning(
            "CONFIG_INVALID_SETTING",
            f"The learning rate is {clamp.taken:g}, not {asked:g}. {clamp.why}",
            where=name_of(origins, "training.learning_rate", "--lr"),
            hint=f"Pass a rate below {clamp.bound:g} to --lr.",
        ),
    )


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
