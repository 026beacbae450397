"""What an estimate says beside its numbers: what is missing, what has no effect, and what else is worth knowing."""

from __future__ import annotations

from collections.abc import Iterator

from backprop.plan.decision import Problem, warning
from backprop.plan.estimate.question import Question
from backprop.plan.estimate.ways import host_shortage
from backprop.plan.quantity import gib
from backprop.plan.training.footprint import Footprint
from backprop.plan.training.mode import check_mode
from backprop.plan.training.room import guessed_family, unknown_memory


def check_applies(question: Question, footprint: Footprint) -> tuple[Problem, ...]:
    """Warnings: what cannot be heeded or predicted."""
    return (
        *check_mode(question.run, origins=question.origins),
        *footprint.notes,
        *_limits(question, footprint),
    )


def _limits(question: Question, footprint: Footprint) -> Iterator[Problem]:
    model, origin = question.place.model, question.origins.of("model.max_seq_length")
    asked, lacking = question.run.model.max_seq_length, question.lacks_method(question.run)
    if origin is not None and question.sequences.longest < asked:
        yield warning(
            "CONFIG_INVALID_SETTING",
            f"{origin.name} is {asked:,}, and {model.name} knows {question.sequences.longest:,} positions; "
            "sequences of that length are counted.",
            where=origin.name,
            hint="Give at most the model's context.",
        )
    if lacking:
        message = f"--method {question.sequences.objective.value} does not go with --mode full: {lacking}."
        yield warning("CONFIG_INVALID_SETTING", message, where="--method", hint="Leave out --mode full.")
    elif footprint.fit.memory is None:
        message = f"{unknown_memory(model)} The batch is the card's tier."
        yield warning("RUNTIME_MEMORY_UNKNOWN", message, where="MODEL")
    elif guessed_family(model):
        yield warning("RUNTIME_MEMORY_UNKNOWN", guessed_family(model), where="MODEL")


def shortage(footprint: Footprint) -> str:
    """What stands against a run that does not fit."""
    memory, budget = footprint.fit.memory, footprint.budget
    if footprint.too_large is not None:
        return footprint.too_large.message.rstrip(".")
    if memory is not None and budget is not None and memory.needed_bytes > budget.free_bytes:
        return f"it needs {gib(memory.needed_bytes)}, and {gib(budget.free_bytes)} are free"
    return f"it {host_shortage(memory, budget)}"


def notes_on(question: Question, footprint: Footprint) -> tuple[str, ...]:
    """Sentences about what the numbers alone do not show."""
    return tuple(filter(None, (_experts(question, footprint), _paged(footprint))))


def _experts(question: Question, footprint: Footprint) -> str:
    model = question.place.model
    if model.experts is None or not footprint.precision.load_in_4bit.value:
        return ""
    num_bytes = footprint.precision.storage.num_bytes
    experts = model.experts.num_layers * model.experts.count * model.parameters_of_an_expert * num_bytes
    memory = footprint.fit.memory
    of = f" of {gib(memory.peak_bytes)} at the peak" if memory else ""
    return (
        f"The experts stay in {8 * num_bytes} bits: {gib(experts)}{of}. "
        "4-bit weights are for linear layers, and experts are none."
    )


def _paged(footprint: Footprint) -> str:
    """Whether what can be paged out is what is missing."""
    memory, budget = footprint.fit.memory, footprint.budget
    if memory is None or budget is None or not memory.paged_bytes or footprint.fit.fits:
        return ""
    left = memory.needed_bytes - round(memory.paged_bytes * (1 + memory.reserve_share))
    paged = gib(memory.paged_bytes)
    if left > budget.free_bytes:
        return f"Paging the {paged} of optimizer states out to host memory would not be enough: {gib(left)} remain."
    return (
        f"{paged} of optimizer states can be paged out to host memory; {gib(left)} remain, which fit. train refuses "
        "such a run all the same: every step would wait for them."
    )
