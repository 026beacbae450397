"""The ways to train that an estimate compares: the same run with other weights trained, or held otherwise."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from backprop.plan.decision import errors_among
from backprop.plan.estimate.question import Question, largest_batch
from backprop.plan.estimate.report import Way
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.quantity import gib
from backprop.plan.settings.training import TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.ceiling import plan_ceiling
from backprop.plan.training.footprint import Footprint
from backprop.plan.training.memory import MemoryBudget


@attrs.frozen
class WayKind:
    """A way to train, by name and flags, and how the settings of a run become it."""

    name: str
    flags: str
    of: Callable[[TrainSettings], TrainSettings]


def _adapter(settings: TrainSettings, *, in_4bit: bool) -> TrainSettings:
    return attrs.evolve(
        settings,
        model=attrs.evolve(settings.model, load_in_4bit=in_4bit),
        training=attrs.evolve(settings.training, mode=TrainMode.LORA, full_ft_offload=False, fp8=False),
    )


def _full(settings: TrainSettings, *, offloads: bool) -> TrainSettings:
    return attrs.evolve(
        settings,
        model=attrs.evolve(settings.model, load_in_4bit=None),
        training=attrs.evolve(settings.training, mode=TrainMode.FULL, full_ft_offload=offloads),
    )


WAYS = (
    WayKind("qlora", "--load-in-4bit", lambda settings: _adapter(settings, in_4bit=True)),
    WayKind("lora", "--no-load-in-4bit", lambda settings: _adapter(settings, in_4bit=False)),
    WayKind("full", "--mode full", lambda settings: _full(settings, offloads=False)),
    WayKind("full-offload", "--mode full --full-ft-offload", lambda settings: _full(settings, offloads=True)),
)
"""From the one that takes least of the card to the one that takes most, offload last."""


def plan_way(question: Question, kind: WayKind) -> Way:
    """The least that a way takes: as few sequences at once as may be, recomputing unless the user said not to."""
    run = kind.of(question.run)
    lacking = question.lacks_method(run)
    if lacking:
        return _impossible(kind, lacking)
    if run.lora.use_gradient_checkpointing is None:
        run = attrs.evolve(run, lora=attrs.evolve(run.lora, use_gradient_checkpointing=True))
    least = question.footprint(run, batch=question.fewest)
    if not isinstance(least, Footprint):
        return _impossible(kind, errors_among(least)[0].message)
    memory, budget = least.fit.memory, least.budget
    is_refused = least.too_large is not None and budget is not None
    is_known = memory is not None and budget is not None
    fits = False if is_refused else least.may_run if is_known else None
    notes = (_past_bound(question, run) if is_refused else "", host_shortage(memory, budget))
    return Way(
        name=kind.name,
        flags=kind.flags,
        needed_bytes=memory.needed_bytes if memory else None,
        host_bytes=memory.host_bytes if memory else 0,
        fits=fits,
        largest_batch=None if fits is None else largest_batch(question, run) if fits else 0,
        batch_size=question.fewest,
        gradient_checkpointing=least.fit.gradient_checkpointing.value,
        optimizer=least.optimizer.value,
        note="; ".join(filter(None, notes)),
    )


def _impossible(kind: WayKind, why: str) -> Way:
    return Way(kind.name, kind.flags, needed_bytes=None, host_bytes=0, fits=False, largest_batch=0, note=why)


def _past_bound(question: Question, run: TrainSettings) -> str:
    ceiling = plan_ceiling(run.training, question.place.rail, question.place.hardware, origins=question.origins)
    assert ceiling is not None, "there is a bound where a model is past it"
    return f"past the bound of {ceiling.value:g} B parameters"


def host_shortage(memory: MemoryPlan | None, budget: MemoryBudget | None) -> str:
    """What is missing of the host's memory; empty when nothing is, or when it is not known."""
    free = budget.host_free_bytes if budget else None
    if memory is None or free is None or memory.host_bytes <= free:
        return ""
    return f"needs {gib(memory.host_bytes)} of host memory, and {gib(free)} are free"
