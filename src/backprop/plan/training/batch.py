"""How many sequences go through the model at once, and how many make an update."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Decision
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.memory.objective import Objective
from backprop.plan.quantity import GIB, gib
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainingSettings
from backprop.plan.training.chosen import given, set_by
from backprop.plan.training.rail import Rail

NOMINAL_TOLERANCE_GIB = 1.5
"""A card that reports up to this much below its nominal size counts as that size."""

BATCH_TIERS: tuple[tuple[int, int], ...] = ((48, 8), (32, 6), (24, 4), (16, 2), (0, 1))
"""(nominal GiB of the card at least, sequences): the ceiling of ``--batch-size auto``."""
BATCH_UNKNOWN_VRAM = 2


@attrs.frozen
class BatchPlan:
    """What one optimizer step is made of."""

    micro_batch: Decision[int]
    """Sequences in one forward pass; the last pass of a step holds what is left of ``effective``."""
    accumulation: Decision[int]
    """Forward passes added up before an update."""
    effective: int
    """Sequences in an update, whatever the micro-batch: gradients are weighted by tokens over all its passes."""
    packing: Decision[bool]
    """Several rows in one sequence, each seeing only itself."""
    sequence_length: Decision[int]
    """The longest row in tokens; longer ones are cut, or left out where their answers are judged."""
    packed_length: Decision[int] | None
    """The capacity of a packed sequence in tokens, which longer rows exceed alone; None without packing."""
    processes: int = 1
    """Processes that share an update equally; micro-batch and accumulation are those of each."""

    @property
    def share(self) -> int:
        """Sequences of an update that each process takes."""
        return self.effective // self.processes


@attrs.frozen
class UpdatePlan:
    """The batch as asked for, before memory has its say."""

    micro_batch: Decision[int]
    """What was asked for, or the most that ``auto`` takes."""
    accumulation: Decision[int]
    is_fixed: bool
    """The micro-batch was given as a number."""
    fewest: int = 1
    """Sequences that the objective needs at once, at least."""
    processes: int = 1
    """Processes that share an update; micro-batch and accumulation are those of each."""
    given: int | None = None
    """Sequences in an update, where they are not micro-batch times accumulation."""

    @property
    def effective(self) -> int:
        """Sequences in an update, of all processes."""
        return self.given or self.micro_batch.value * self.accumulation.value

    def divided(self, processes: int) -> UpdatePlan:
        """The same update shared by so many processes, when they can share it equally; else as it is."""
        effective = self.effective
        if processes == 1 or effective % processes:
            return self
        share = effective // processes
        micro_batch = self.micro_batch
        why = f"{processes} processes share the update's {effective} sequences."
        if micro_batch.value > share:
            micro_batch = Decision(share, "data parallel", why)
        passes = Decision(-(-share // micro_batch.value), "data parallel", why)
        return attrs.evolve(self, micro_batch=micro_batch, accumulation=passes, processes=processes, given=effective)

    def lowered(self, micro_batch: int) -> tuple[Decision[int], Decision[int]]:
        """Micro-batch and accumulation of the same update where only ``micro_batch`` sequences fit at a time."""
        if micro_batch == self.micro_batch.value:
            return self.micro_batch, self.accumulation
        passes = -(-(self.effective // self.processes) // micro_batch)
        why = f"{self.micro_batch.value} at a time do not fit; the update keeps its {self.effective} sequences."
        return Decision(micro_batch, "fits the memory", why), Decision(passes, "the same update", why)


def nominal_tier(vram_bytes: int | None) -> int:
    """The tier's batch for a card of so many bytes."""
    if vram_bytes is None:
        return BATCH_UNKNOWN_VRAM
    counts_as = counted_gib(vram_bytes)
    return next(batch for at_least, batch in BATCH_TIERS if counts_as >= at_least)


def counted_gib(vram_bytes: int) -> float:
    """The largest nominal size, in GiB, that a card which reports ``vram_bytes`` counts as."""
    return vram_bytes / GIB + NOMINAL_TOLERANCE_GIB


def plan_update(
    settings: TrainingSettings, *, rail: Rail, hardware: HardwareFacts, objective: Objective, origins: Origins
) -> UpdatePlan:
    """The user's batch, or the tier of the card; one sequence on the CPU. Accumulation as asked.

    Raised to what the objective needs at once.
    """
    asked = settings.gradient_accumulation_steps
    accumulation = set_by(origins, "training.gradient_accumulation_steps", asked) or Decision(
        asked, "default", "Gradients of a few passes together are less noisy, at no cost in memory."
    )
    micro_batch = _micro_batch(settings, rail, hardware, origins)
    fewest = objective.fewest_rows
    if micro_batch.value < fewest:
        why = f"{objective.value.upper()} compares rows of one batch with one another: {micro_batch.value} is too few."
        micro_batch = Decision(fewest, "fewest of the method", why)
    return UpdatePlan(
        micro_batch, accumulation, is_fixed=settings.per_device_train_batch_size is not None, fewest=fewest
    )


def _micro_batch(settings: TrainingSettings, rail: Rail, hardware: HardwareFacts, origins: Origins) -> Decision[int]:
    asked = settings.per_device_train_batch_size
    if asked is not None:
        return given(origins, "training.per_device_train_batch_size", asked)
    if rail is Rail.CPU:
        return Decision(1, "CPU", "One sequence at a time has no padding, and the processor is busy with one.")
    if rail is Rail.MLX:
        return Decision(1, "MLX", "One sequence at a time has no padding, and takes least of the shared memory.")
    gpu = hardware.gpu
    total = gpu.vram_total_bytes if gpu else None
    size = gib(total) if total else "unknown memory"
    return Decision(nominal_tier(total), "tier of the card", f"The table's batch for a card with {size}.")
