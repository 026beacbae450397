"""How large a model full fine-tuning takes on a card: a bound on the parameter count, before memory is counted."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Decision, Problem
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts
from backprop.plan.quantity import gib, quantity
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainingSettings, TrainMode
from backprop.plan.training.batch import counted_gib
from backprop.plan.training.chosen import given
from backprop.plan.training.rail import Rail


@attrs.frozen
class Ceiling:
    """Billions of parameters that a card of the size takes."""

    at_least_gib: int
    on_card: float
    with_offload: float


CEILINGS = (Ceiling(48, 10, 16), Ceiling(32, 6, 8), Ceiling(24, 5, 7), Ceiling(0, 4, 4))
"""By the nominal size of the card, the largest first."""


def plan_ceiling(
    settings: TrainingSettings, rail: Rail, hardware: HardwareFacts, *, origins: Origins
) -> Decision[float] | None:
    """Billions of parameters: the user's number, or the card's; that of the smallest cards where none is known.

    None on the CPU, whatever card stands beside it: there memory alone decides.
    """
    if settings.full_ft_ceiling_billions is not None:
        return given(origins, "training.full_ft_ceiling_billions", settings.full_ft_ceiling_billions)
    if rail is not Rail.CUDA:
        return None
    gpu = hardware.gpu
    counts_as = counted_gib(gpu.vram_total_bytes) if gpu else 0.0
    row = next(row for row in CEILINGS if counts_as >= row.at_least_gib)
    value = row.with_offload if settings.full_ft_offload else row.on_card
    place = f"a card with {gib(gpu.vram_total_bytes)}" if gpu else "no card"
    offload = " and offload" if settings.full_ft_offload else ""
    return Decision(value, "card", f"The table's bound for {place}{offload}.")


def check_ceiling(
    settings: TrainingSettings, model: ModelFacts, rail: Rail, hardware: HardwareFacts, *, origins: Origins
) -> Problem | None:
    """RUNTIME_FULL_FT_MODEL_TOO_LARGE, without its remedies, for a model past the bound; None in other modes."""
    if settings.mode is not TrainMode.FULL:
        return None
    ceiling = plan_ceiling(settings, rail, hardware, origins=origins)
    if ceiling is None or model.num_parameters <= ceiling.value * 1e9:
        return None
    message = (
        f"{model.name} has {quantity(model.num_parameters)} parameters; --mode full takes at most "
        f"{ceiling.value:g} B here ({ceiling.rule}: {ceiling.why[0].lower()}{ceiling.why[1:-1]})."
    )
    return Problem("RUNTIME_FULL_FT_MODEL_TOO_LARGE", message, where="--mode full")
