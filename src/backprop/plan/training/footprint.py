"""The part of a plan that decides on memory, and that memory decides on: formats, adapter, optimizer, micro-batch."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Decision, Problem, errors_among
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Optimizer, TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.adapter import AdapterPlan, plan_adapter
from backprop.plan.training.attention import plan_attention
from backprop.plan.training.batch import UpdatePlan
from backprop.plan.training.ceiling import check_ceiling
from backprop.plan.training.fit import FitPlan, plan_fit
from backprop.plan.training.float8 import check_float8, plan_float8
from backprop.plan.training.full_precision import plan_full_precision
from backprop.plan.training.initial import FOR_LOFTQ, asks_for_4bit, check_initial
from backprop.plan.training.memory import MemoryBudget, Workload, budget_of, workload_of
from backprop.plan.training.optimizer import plan_optimizer
from backprop.plan.training.precision import PrecisionPlan, plan_precision
from backprop.plan.training.rail import Rail


@attrs.frozen
class Place:
    """Where a run is to take place, and the model that it is about."""

    model: ModelFacts
    hardware: HardwareFacts
    software: SoftwareFacts
    rail: Rail


@attrs.frozen
class Sequences:
    """What goes through the model at once."""

    longest: int
    """Tokens of the longest sequence, packed or not."""
    is_packed: bool
    longest_heldout: int | None = None
    """Tokens of the longest held-out row; None without evaluations during training."""
    objective: Objective = Objective.SFT


@attrs.frozen
class Parts:
    """What a run is made of, before there are sequences: formats, adapter, optimizer, attention."""

    precision: PrecisionPlan
    adapter: AdapterPlan | None
    """None where every weight is trained."""
    optimizer: Decision[Optimizer]
    attention: Decision[AttentionKernel]


@attrs.frozen
class Footprint:
    """What a run holds in memory, by which decisions, and where."""

    precision: PrecisionPlan
    adapter: AdapterPlan | None
    """None where every weight is trained."""
    optimizer: Decision[Optimizer]
    attention: Decision[AttentionKernel]
    workload: Workload
    fit: FitPlan
    budget: MemoryBudget | None
    too_large: Problem | None
    """The model is past the bound on parameters."""
    notes: tuple[Problem, ...] = ()
    """What is not done as it was asked for: warnings."""

    @property
    def may_run(self) -> bool:
        """The one verdict on size: within the bound on parameters, and within the memory as far as that is known."""
        return self.too_large is None and self.fit.fits


def plan_footprint(
    settings: TrainSettings, place: Place, *, update: UpdatePlan, sequences: Sequences, origins: Origins
) -> Footprint | tuple[Problem, ...]:
    """Decide all of it, or say what stands against it; a footprint need not fit."""
    parts = plan_parts(settings, place, origins=origins)
    if not isinstance(parts, Parts):
        return parts
    notes = _check_weights(settings, place, parts.precision, origins)
    if errors_among(notes):
        return notes
    workload = workload_of(
        place.model,
        rail=place.rail,
        hardware=place.hardware,
        precision=parts.precision,
        adapter=parts.adapter,
        optimizer=parts.optimizer.value,
        attention=parts.attention,
        sequence=sequences.longest,
        is_packed=sequences.is_packed,
        longest_heldout=sequences.longest_heldout,
        objective=sequences.objective,
        offloads=_offloads(settings),
    )
    budget = budget_of(place.rail, place.hardware)
    asked = settings.lora.use_gradient_checkpointing
    fit = plan_fit(workload, update, checkpointing=asked, budget=budget, origins=origins)
    too_large = check_ceiling(settings.training, place.model, place.rail, place.hardware, origins=origins)
    return Footprint(
        parts.precision, parts.adapter, parts.optimizer, parts.attention, workload, fit, budget, too_large, notes
    )


def plan_parts(settings: TrainSettings, place: Place, *, origins: Origins) -> Parts | tuple[Problem, ...]:
    """The parts, or every problem that one of them has."""
    full = settings.training.mode is TrainMode.FULL
    precision = _precision(settings, place, origins)
    adapter = None if full else plan_adapter(settings.lora, place.model, origins=origins)
    optimizer = plan_run_optimizer(
        settings, rail=place.rail, hardware=place.hardware, software=place.software, origins=origins
    )
    if isinstance(precision, Problem) or isinstance(adapter, Problem) or isinstance(optimizer, Problem):
        return tuple(part for part in (precision, adapter, optimizer) if isinstance(part, Problem))
    return Parts(precision, adapter, optimizer, plan_attention(place.model))


def plan_run_optimizer(
    settings: TrainSettings, *, rail: Rail, hardware: HardwareFacts, software: SoftwareFacts, origins: Origins
) -> Decision[Optimizer] | Problem:
    """The optimizer of the mode that is asked for; the one part that does not depend on the model."""
    return plan_optimizer(
        settings.training.optim,
        rail=rail,
        hardware=hardware,
        software=software,
        origins=origins,
        offloads=_offloads(settings),
    )


def _offloads(settings: TrainSettings) -> bool:
    return settings.training.mode is TrainMode.FULL and settings.training.full_ft_offload


def _precision(settings: TrainSettings, place: Place, origins: Origins) -> PrecisionPlan | Problem:
    """Of the mode that is asked for."""
    asked, hardware = settings.training, place.hardware
    if asked.mode is TrainMode.FULL:
        return plan_full_precision(
            settings.model, asked, rail=place.rail, model=place.model, hardware=hardware, origins=origins
        )
    for_loftq = asks_for_4bit(settings.lora, settings.model, place.model)
    precision = plan_precision(
        attrs.evolve(settings.model, load_in_4bit=True) if for_loftq else settings.model,
        asked,
        rail=place.rail,
        model=place.model,
        hardware=hardware,
        software=place.software,
        origins=origins,
    )
    if isinstance(precision, Problem):
        return precision
    if for_loftq:
        precision = attrs.evolve(precision, load_in_4bit=FOR_LOFTQ)
    return plan_float8(
        settings,
        precision,
        rail=place.rail,
        model=place.model,
        hardware=hardware,
        software=place.software,
        origins=origins,
    )


def _check_weights(
    settings: TrainSettings, place: Place, precision: PrecisionPlan, origins: Origins
) -> tuple[Problem, ...]:
    """Whether the format of the weights is the one that was asked for, and one that the adapter can begin from."""
    if settings.training.mode is TrainMode.FULL:
        return ()
    return (
        *check_initial(settings.lora, place.model, precision, origins=origins),
        *check_float8(
            settings, precision, rail=place.rail, model=place.model, hardware=place.hardware, origins=origins
        ),
    )
