"""Whether there is room for a run where it is to take place; when not, what is missing and what would help."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from backprop.plan.decision import Problem, Remedy, Shortage, warning
from backprop.plan.facts.dataset import DataFacts
from backprop.plan.facts.families import is_known
from backprop.plan.facts.model import ModelFacts
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.quantity import gib
from backprop.plan.settings.training import TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.changes import Change, smallest_changes
from backprop.plan.training.footprint import Footprint, Place, Sequences
from backprop.plan.training.memory import MemoryBudget, quantization_is_counted
from backprop.plan.training.rail import Rail
from backprop.plan.training.targets import TRUNCATED_REFUSED_SHARE, readable_rows, truncated_share


def check_room(
    settings: TrainSettings, place: Place, footprint: Footprint, *, sequences: Sequences, data: DataFacts | None = None
) -> tuple[Problem, ...]:
    """RUNTIME_MEMORY_INSUFFICIENT with the smallest changes that help; a warning where nothing can be predicted."""
    memory, budget = footprint.fit.memory, footprint.budget
    if memory is None:
        on_mlx = "The peak memory of the MLX rail is not predicted. One sequence goes through the model at a time."
        tier = f"{unknown_memory(place.model)} The batch is the card's tier."
        message = on_mlx if place.rail is Rail.MLX else tier
        return (warning("RUNTIME_MEMORY_UNKNOWN", message, where="--model"),)
    guess = _guess(place.model)
    if budget is None:
        message = f"The plan needs {gib(memory.needed_bytes)}; how much there is could not be found out."
        return (*guess, warning("RUNTIME_MEMORY_UNKNOWN", message))
    if footprint.fit.fits:
        return guess
    changes = smallest_changes(settings, place, sequences=sequences, may_cut_to=may_cut(settings, data))
    message = shortage(memory, budget)
    if settings.training.mode is TrainMode.FULL and place.rail is Rail.CUDA:
        message += " The model is within the bound on parameters for this card; memory is what decides."
    hint = f"{_advice(changes)}{_elsewhere(place)}"
    return (
        Problem("RUNTIME_MEMORY_INSUFFICIENT", message, hint=hint, shortage=_numbers(memory, budget, changes)),
        *guess,
    )


def unknown_memory(model: ModelFacts) -> str:
    """What is said of a model whose memory nobody predicts."""
    if not quantization_is_counted(model):
        return f"The peak memory of {model.name} is not predicted: its weights are stored in a format not counted here."
    return f"The peak memory of {model.model_type} models like this one is not predicted."


def guessed_family(model: ModelFacts) -> str:
    """What is said of a prediction for a family whose code nobody here read; empty for known ones."""
    if is_known(model.model_type):
        return ""
    return (
        f"{model.model_type} is not a family that is known here: its memory is counted as if it were built like Llama."
    )


def _guess(model: ModelFacts) -> tuple[Problem, ...]:
    told = guessed_family(model)
    return (warning("RUNTIME_MEMORY_UNKNOWN", told, where="--model"),) if told else ()


def refuse_too_large(
    problem: Problem,
    settings: TrainSettings,
    place: Place,
    footprint: Footprint | None,
    *,
    sequences: Sequences,
    data: DataFacts | None = None,
) -> Problem:
    """The refusal of a model past the full fine-tuning ceiling, with what works instead and what memory says."""
    changes = smallest_changes(settings, place, sequences=sequences, may_cut_to=may_cut(settings, data))
    memory = footprint.fit.memory if footprint else None
    message = problem.message
    if footprint is not None and memory is not None and footprint.budget is not None:
        verdict = "fits" if footprint.fit.fits else "does not fit"
        message += (
            f" By the memory plan it would need {gib(memory.needed_bytes)} and {verdict} in the "
            f"{gib(footprint.budget.free_bytes)} that are free."
        )
    parts = [_advice(changes)] if changes else []
    if not any(way in change.flags for change in changes for way in _PAST_THE_CEILING):
        parts.append("On a larger card train an adapter with --mode lora, or offload with --full-ft-offload.")
    parts.append("The bound is set by --full-ft-ceiling-billions.")
    budget = footprint.budget if footprint else None
    shortage = _numbers(memory, budget, changes) if memory and budget else None
    return attrs.evolve(problem, message=message, hint=" ".join(parts), shortage=shortage)


_PAST_THE_CEILING = ("--mode lora", "--full-ft-offload")
"""The ways to train a model of the same size; a refusal always names one."""


def shortage(memory: MemoryPlan, budget: MemoryBudget) -> str:
    """What the run would need, what there is, and what takes most of it."""
    if budget.host_free_bytes is not None and memory.host_bytes > budget.host_free_bytes:
        return (
            f"The run would keep {gib(memory.host_bytes)} in host memory, of which {gib(budget.host_free_bytes)} are "
            f"free, beside {gib(memory.needed_bytes)} on {budget.place}."
        )
    largest = sorted(memory.terms, key=lambda term: term.bytes, reverse=True)[:3]
    parts = ", ".join(f"{term.name.value} {gib(term.bytes)}" for term in largest)
    return (
        f"The run would need {gib(memory.needed_bytes)}, and {budget.place} has {gib(budget.free_bytes)} free "
        f"of {gib(budget.total_bytes)}. Most of it at the peak, {memory.moment}: {parts}."
    )


def _numbers(memory: MemoryPlan, budget: MemoryBudget, changes: tuple[Change, ...]) -> Shortage:
    return Shortage(
        needed_bytes=memory.needed_bytes,
        free_bytes=budget.free_bytes,
        host_needed_bytes=memory.host_bytes,
        host_free_bytes=budget.host_free_bytes,
        remedies=tuple(Remedy(change.flags, change.memory.needed_bytes) for change in changes),
    )


def _elsewhere(place: Place) -> str:
    """Where there is no card: how to ask about one."""
    if place.hardware.gpu is not None:
        return ""
    return f" What a card would hold: backprop estimate-vram {place.model.name} --vram-gb 24."


def _advice(changes: tuple[Change, ...]) -> str:
    if not changes:
        return "No single change makes it fit; see what other cards hold with `backprop estimate-vram`."
    named = "; ".join(f"{change.flags} ({gib(change.memory.needed_bytes)})" for change in changes)
    return f"Any of these makes it fit: {named}." if len(changes) > 1 else f"This makes it fit: {named}."


def may_cut(settings: TrainSettings, data: DataFacts | None) -> Callable[[int], bool]:
    """Whether cutting at a length leaves nearly all rows whole, or was allowed."""
    tokens = data.train.tokens if data else None
    if data is None or tokens is None or settings.data.allow_truncation:
        return lambda _length: True
    rows, counts = readable_rows(data.train), tokens.length_counts

    def leaves_nearly_all(length: int) -> bool:
        num_cut = sum(num_rows for row_length, num_rows in counts if row_length > length)
        return truncated_share(num_cut, rows) <= TRUNCATED_REFUSED_SHARE

    return leaves_nearly_all
