"""Full fine-tuning with weights and optimizer states in host memory: whether it can run here, and what it takes."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.decision import Decision, Problem, warning
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Optimizer, TrainingSettings
from backprop.plan.training.rail import Rail

STEPS_IN_HOST_MEMORY = frozenset({Optimizer.ADAMW_TORCH, Optimizer.ADAMW_TORCH_FUSED, Optimizer.SGD})
"""The optimizers that step sharded tensors in host memory."""


class CollectiveBackend(enum.Enum):
    """What FSDP2's process group of one speaks."""

    NCCL = "nccl"
    GLOO = "gloo"


@attrs.frozen
class OffloadPlan:
    """FSDP2 with CPU offload in one process: a layer's weights come to the card when it computes, and go again."""

    backend: CollectiveBackend


def plan_offload(settings: TrainingSettings, *, rail: Rail, hardware: HardwareFacts) -> OffloadPlan | Problem | None:
    """None when it is not asked for; DEP_FSDP_UNAVAILABLE where no NCCL exists."""
    if not settings.full_ft_offload:
        return None
    if hardware.system == "Windows":
        return fsdp_unavailable("Windows has no NCCL.")
    return OffloadPlan(backend=CollectiveBackend.NCCL if rail is Rail.CUDA else CollectiveBackend.GLOO)


def fsdp_unavailable(why: str) -> Problem:
    """What is missing for ``--full-ft-offload``; also found when torch itself turns out to lack NCCL."""
    return Problem(
        "DEP_FSDP_UNAVAILABLE",
        f"--full-ft-offload cannot run here: {why}",
        where="--full-ft-offload",
        hint="Run it on Linux or in WSL2 with a CUDA build of torch, leave it out, or use --mode lora.",
    )


def offload_optimizer(asked: Optimizer, *, origins: Origins) -> Decision[Optimizer] | Problem | None:
    """The optimizer under offload when ``auto`` leaves the choice; a problem for one that cannot step there."""
    if asked is Optimizer.AUTO:
        return Decision(Optimizer.ADAMW_TORCH, "offload", "It steps the weights in host memory, where they are.")
    if asked in STEPS_IN_HOST_MEMORY:
        return None
    origin = origins.of("training.optim")
    return Problem(
        "CONFIG_INVALID_SETTING",
        f"--optim {asked.value} cannot go with --full-ft-offload: it does not step weights in host memory.",
        where=origin.name if origin else "--optim",
        hint=f"Use one of {', '.join(sorted(o.value for o in STEPS_IN_HOST_MEMORY))}, or leave it out.",
    )


def check_offload(rail: Rail, *, num_processes: int) -> tuple[Problem, ...]:
    """Whether it is of use; whether host memory will do is for the memory plan to say.

    Several processes on the CPU share the weights by it.
    """
    if rail is Rail.CUDA or num_processes > 1:
        return ()
    return (
        warning(
            "CONFIG_INVALID_SETTING",
            "--full-ft-offload saves nothing on the CPU, where everything is in host memory already.",
            where="--full-ft-offload",
            hint="Leave it out.",
        ),
    )
