"""On what the run computes: the NVIDIA card or the processor."""

from __future__ import annotations

import enum

from backprop.plan.decision import Decision, Problem
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Backend
from backprop.plan.training.chosen import given

NO_CARD = "No NVIDIA card was found."


class Rail(enum.Enum):
    """The compute rail that a run takes."""

    CUDA = "cuda"
    CPU = "cpu"


def plan_rail(asked: Backend, hardware: HardwareFacts, *, origins: Origins) -> Decision[Rail] | Problem:
    """CUDA where there is a card, else the CPU; a forced rail that cannot run is a problem."""
    gpu = hardware.gpu
    origin = origins.of("training.backend")
    if asked is Backend.CUDA and gpu is None:
        return Problem(
            "CONFIG_INVALID_SETTING",
            f"--backend cuda cannot run here. {hardware.gpus_absent or NO_CARD}",
            where=origin.name if origin else "--backend",
            hint="Use --backend auto, or --backend cpu.",
        )
    if asked is Backend.CPU:
        return given(origins, "training.backend", Rail.CPU)
    if gpu is not None:
        return Decision(Rail.CUDA, "an NVIDIA card is present", f"{gpu.name} answers through its driver.")
    return Decision(Rail.CPU, "no NVIDIA card", hardware.gpus_absent or NO_CARD)
