"""What full fine-tuning decides beside the adapter's plan: rounding and offload."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Decision, Problem
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.settings.training import Optimizer, TrainingSettings, TrainMode
from backprop.plan.training.full_precision import Rounding, plan_rounding
from backprop.plan.training.offload import OffloadPlan, check_offload, plan_offload
from backprop.plan.training.precision import PrecisionPlan
from backprop.plan.training.rail import Rail


@attrs.frozen
class FullPlan:
    """The parts of a plan that only full fine-tuning has, and what stands against them."""

    rounding: Decision[Rounding] | None = None
    offload: OffloadPlan | None = None
    problems: tuple[Problem, ...] = ()


def plan_full(
    settings: TrainingSettings,
    *,
    rail: Rail,
    hardware: HardwareFacts,
    precision: PrecisionPlan | None,
    optimizer: Optimizer | None,
    num_processes: int,
) -> FullPlan:
    """Nothing for an adapter; no rounding before the formats and the optimizer are known."""
    if settings.mode is not TrainMode.FULL:
        return FullPlan()
    rounding = plan_rounding(precision, optimizer) if precision and optimizer else None
    offload = plan_offload(settings, rail=rail, hardware=hardware)
    if isinstance(offload, Problem):
        return FullPlan(rounding=rounding, problems=(offload,))
    problems = check_offload(rail, num_processes=num_processes) if offload else ()
    return FullPlan(rounding=rounding, offload=offload, problems=problems)
