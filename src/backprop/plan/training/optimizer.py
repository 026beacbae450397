"""Which optimizer keeps its state in which format."""

from __future__ import annotations

from backprop.plan.decision import Decision, Problem
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Optimizer
from backprop.plan.training.batch import counted_gib
from backprop.plan.training.chosen import given
from backprop.plan.training.offload import offload_optimizer
from backprop.plan.training.rail import Rail

CONSUMER_BELOW_GIB = 24


def plan_optimizer(
    asked: Optimizer,
    *,
    rail: Rail,
    hardware: HardwareFacts,
    software: SoftwareFacts,
    origins: Origins,
    offloads: bool = False,
) -> Decision[Optimizer] | Problem:
    """auto: paged 8-bit AdamW on CUDA cards under 24 GB, fused AdamW otherwise; one that ``offloads`` allows."""
    decided = offload_optimizer(asked, origins=origins) if offloads else None
    if decided is not None:
        return decided
    if asked.has_8bit_states and not software.has("bitsandbytes"):
        origin = origins.of("training.optim")
        return Problem(
            "DEP_PACKAGE_MISSING",
            f"The optimizer {asked.value} needs the package bitsandbytes, which is not installed.",
            where=origin.name if origin else "--optim",
            hint="pip install bitsandbytes, or pass --optim adamw_torch_fused.",
        )
    if asked is not Optimizer.AUTO:
        return given(origins, "training.optim", asked)
    gpu = hardware.gpu if rail is Rail.CUDA else None
    small = gpu is not None and counted_gib(gpu.vram_total_bytes) < CONSUMER_BELOW_GIB
    if small and software.has("bitsandbytes"):
        return Decision(
            Optimizer.PAGED_ADAMW_8BIT, "card under 24 GB", "8-bit states, moved to host memory when the card is full."
        )
    if small:
        return Decision(
            Optimizer.ADAMW_TORCH_FUSED, "bitsandbytes is missing", "8-bit states would need the package bitsandbytes."
        )
    return Decision(Optimizer.ADAMW_TORCH_FUSED, "default", "AdamW with its update in one fused kernel.")
