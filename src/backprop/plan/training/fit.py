"""The micro-batch and the recomputation of activations with which a run fits its memory."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Decision
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.settings.resolve import Origins
from backprop.plan.training.batch import UpdatePlan
from backprop.plan.training.chosen import given
from backprop.plan.training.memory import MemoryBudget, Workload
from backprop.plan.training.rail import Rail


@attrs.frozen
class FitPlan:
    """What is alive at once, and whether there is room for it."""

    micro_batch: Decision[int]
    accumulation: Decision[int]
    gradient_checkpointing: Decision[bool]
    memory: MemoryPlan | None
    """None when the model's memory is not modelled."""
    fits: bool
    """True also when it is unknown what is needed or what there is."""


def plan_fit(
    workload: Workload,
    update: UpdatePlan,
    *,
    checkpointing: bool | None,
    budget: MemoryBudget | None,
    origins: Origins,
) -> FitPlan:
    """The largest micro-batch that fits, at best without recomputing; what takes least where nothing fits.

    ``checkpointing`` is what the user asked for. The update keeps its sequences however few fit at once.
    """
    asked = None if checkpointing is None else given(origins, "lora.use_gradient_checkpointing", checkpointing)
    if budget is None:
        return _fit(workload, update, update.micro_batch.value, asked or _unknown(workload.rail), budget=None)
    sizes = (update.micro_batch.value,) if update.is_fixed else range(update.micro_batch.value, update.fewest - 1, -1)
    for size in sizes:
        for choice in (asked,) if asked is not None else (_NOT_NEEDED, _NEEDED):
            fit = _fit(workload, update, size, choice, budget=budget)
            if fit.memory is None:
                return _fit(workload, update, size, asked or _unknown(workload.rail), budget=None)
            if fit.fits:
                return fit
    return fit


_NOT_NEEDED = Decision(False, "not needed", "The activations fit; recomputing them costs about a third more time.")
_NEEDED = Decision(True, "fits the memory", "The activations do not fit: recomputing them costs a third more time.")


def _unknown(rail: Rail) -> Decision[bool]:
    if rail is Rail.CUDA:
        return Decision(True, "CUDA", "Activations are recomputed: less memory for about a third more time.")
    if rail is Rail.MLX:
        return Decision(False, "MLX", "Faster; --gradient-checkpointing takes less memory.")
    return Decision(False, "CPU", "Memory is not the limit here, time is.")


def _fit(
    workload: Workload,
    update: UpdatePlan,
    micro_batch: int,
    checkpointing: Decision[bool],
    *,
    budget: MemoryBudget | None,
) -> FitPlan:
    size, passes = update.lowered(micro_batch)
    memory = workload.memory(micro_batch=micro_batch, accumulation=passes.value, checkpointing=checkpointing.value)
    fits = memory is None or budget is None or budget.holds(memory)
    return FitPlan(size, passes, checkpointing, memory, fits)
