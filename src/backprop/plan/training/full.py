"""What full fine-tuning decides beside the adapter's plan: rounding, offload, and whether its checkpoints fit."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Decision, Problem
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts
from backprop.plan.settings.training import Optimizer, TrainingSettings, TrainMode
from backprop.plan.training.checkpoints import CheckpointPlan, check_disk, full_checkpoint_bytes
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
    model: ModelFacts,
    rail: Rail,
    hardware: HardwareFacts,
    precision: PrecisionPlan | None,
    optimizer: Optimizer | None,
    checkpoints: CheckpointPlan,
    steps: int,
    num_evaluations: int,
) -> FullPlan:
    """Nothing for an adapter, and nothing before the formats and the optimizer are known."""
    if settings.mode is not TrainMode.FULL or precision is None or optimizer is None:
        return FullPlan()
    offload = plan_offload(settings, rail=rail, hardware=hardware)
    disk = check_disk(
        checkpoints,
        checkpoint_bytes=full_checkpoint_bytes(model, precision.storage, optimizer),
        steps=steps,
        num_evaluations=num_evaluations,
        hardware=hardware,
    )
    rounding = plan_rounding(precision, optimizer)
    if isinstance(offload, Problem):
        return FullPlan(rounding=rounding, problems=(offload, *disk))
    idle = check_offload(rail) if offload else ()
    return FullPlan(rounding=rounding, offload=offload, problems=(*idle, *disk))
