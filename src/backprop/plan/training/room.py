"""Whether there is room for a run where it is to take place; when not, what is missing and what would help."""

from __future__ import annotations

from collections.abc import Callable

from backprop.plan.decision import Problem, warning
from backprop.plan.facts.dataset import DataFacts
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.quantity import gib
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.changes import Change, smallest_changes
from backprop.plan.training.footprint import Footprint, Place, Sequences
from backprop.plan.training.memory import MemoryBudget
from backprop.plan.training.targets import TRUNCATED_REFUSED_SHARE


def check_room(
    settings: TrainSettings, place: Place, footprint: Footprint, *, sequences: Sequences, data: DataFacts | None = None
) -> tuple[Problem, ...]:
    """RUNTIME_MEMORY_INSUFFICIENT with the smallest changes that help; a warning where nothing can be predicted."""
    memory, budget = footprint.fit.memory, footprint.budget
    if memory is None:
        message = f"The peak memory of {place.model.model_type} models is not predicted; the batch is the card's tier."
        return (warning("RUNTIME_MEMORY_UNKNOWN", message, where="--model"),)
    if budget is None:
        message = f"The plan needs {gib(memory.needed_bytes)}; how much there is could not be found out."
        return (warning("RUNTIME_MEMORY_UNKNOWN", message),)
    if footprint.fit.fits:
        return ()
    changes = smallest_changes(settings, place, sequences=sequences, may_cut_to=_may_cut(settings, data))
    return (Problem("RUNTIME_MEMORY_INSUFFICIENT", _shortage(memory, budget), hint=_advice(changes)),)


def _shortage(memory: MemoryPlan, budget: MemoryBudget) -> str:
    largest = sorted(memory.terms, key=lambda term: term.bytes, reverse=True)[:3]
    parts = ", ".join(f"{term.name.value} {gib(term.bytes)}" for term in largest)
    return (
        f"The run would need {gib(memory.needed_bytes)}, and {budget.place} has {gib(budget.free_bytes)} free "
        f"of {gib(budget.total_bytes)}. Most of it at the peak, {memory.moment}: {parts}."
    )


def _advice(changes: tuple[Change, ...]) -> str:
    if not changes:
        return "No single change makes it fit; see what other cards hold with `backprop estimate-vram`."
    named = "; ".join(f"{change.flags} ({gib(change.memory.needed_bytes)})" for change in changes)
    return f"Any of these makes it fit: {named}." if len(changes) > 1 else f"This makes it fit: {named}."


def _may_cut(settings: TrainSettings, data: DataFacts | None) -> Callable[[int], bool]:
    """Whether cutting at a length leaves nearly all rows whole, or was allowed."""
    tokens = data.train.tokens if data else None
    if tokens is None or settings.data.allow_truncation:
        return lambda _length: True
    most = TRUNCATED_REFUSED_SHARE * max(1, tokens.sequences)
    return lambda length: sum(rows for row_length, rows in tokens.length_counts if row_length > length) <= most
