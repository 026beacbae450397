"""Which runs of a model fit which card, by the same footprint that ``train`` plans with."""

from __future__ import annotations

import bisect
from collections.abc import Callable

import attrs

from backprop.plan.decision import Problem, Refused, errors_among
from backprop.plan.estimate.report import CardRow, EstimateReport, Remedy, Tier, Way
from backprop.plan.estimate.ways import WAYS, WayKind
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.cards import CARDS
from backprop.plan.facts.hardware import Gpu, HardwareFacts
from backprop.plan.facts.model import ModelFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.memory.objective import Objective
from backprop.plan.quantity import GIB
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainMode
from backprop.plan.settings.verbs.estimate_vram import EstimateVramSettings
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.batch import BATCH_TIERS, nominal_tier, plan_update
from backprop.plan.training.ceiling import plan_ceiling
from backprop.plan.training.changes import smallest_changes
from backprop.plan.training.facts import plan_sequence_length
from backprop.plan.training.footprint import Footprint, Place, Sequences, plan_footprint
from backprop.plan.training.rail import Rail
from backprop.plan.training.room import guessed_family, unknown_memory

MOST_SEQUENCES = 1024
SEQUENCE_STEP = 128
ASSUMED_CAPABILITY = (8, 9)
"""Of a card that is only named by its size: one with bfloat16."""
NEEDED_SOFTWARE = ("bitsandbytes",)
"""Assumed to be installed where a card that is not here is asked about."""


@attrs.frozen
class EstimateFacts:
    """What an estimate looks at."""

    model: ModelFacts | Absent
    hardware: HardwareFacts
    software: SoftwareFacts


def plan_estimate(
    settings: EstimateVramSettings, facts: EstimateFacts, *, origins: Origins
) -> EstimateReport | Refused:
    """Everything about one model and one card; without a card, about the common ones."""
    model = facts.model
    if isinstance(model, Absent):
        return Refused((model.problem,))
    run = TrainSettings(
        model=attrs.evolve(settings.model, name=settings.name),
        data=settings.data,
        training=settings.training,
        lora=settings.lora,
    )
    place = Place(model, *_card(settings, facts), rail=Rail.CUDA)
    length = plan_sequence_length(settings.model, model, origins=origins).value
    sequences = Sequences(
        length, is_packed=settings.data.packing and settings.method is Objective.SFT, objective=settings.method
    )
    question = Question(run, place, sequences, origins)
    footprint = question.footprint(run)
    problems = footprint if not isinstance(footprint, Footprint) else ()
    if problems:
        return Refused(problems)
    assert isinstance(footprint, Footprint)
    return _report(question, footprint)


def _card(settings: EstimateVramSettings, facts: EstimateFacts) -> tuple[HardwareFacts, SoftwareFacts]:
    """The machine with the card that is asked about; a card that is not here comes with the packages it needs."""
    here = facts.hardware.gpu
    if settings.vram_gb is None and here is not None:
        return facts.hardware, facts.software
    packages = dict(facts.software.packages) | dict.fromkeys(NEEDED_SOFTWARE, "any")
    software = attrs.evolve(facts.software, packages=tuple(sorted(packages.items())))
    if settings.vram_gb is None:
        return attrs.evolve(facts.hardware, gpus=()), software
    return with_card(facts.hardware, settings.vram_gb), software


def with_card(hardware: HardwareFacts, vram_gib: float) -> HardwareFacts:
    """The machine with an empty card of the size; host memory is taken as it is."""
    size = round(vram_gib * GIB)
    gpu = Gpu(f"a card with {vram_gib:g} GiB", size, size, ASSUMED_CAPABILITY)
    return attrs.evolve(hardware, gpus=(gpu,), gpus_absent="")


@attrs.frozen
class Question:
    """A run and its place, of which variations are asked."""

    run: TrainSettings
    place: Place
    sequences: Sequences
    origins: Origins

    def footprint(
        self, run: TrainSettings, *, batch: int | None = None, length: int | None = None
    ) -> Footprint | tuple[Problem, ...]:
        if batch is not None:
            run = attrs.evolve(run, training=attrs.evolve(run.training, per_device_train_batch_size=batch))
        longest = self.sequences.longest if length is None else length
        return plan_footprint(
            run,
            self.place,
            update=plan_update(
                run.training,
                rail=self.place.rail,
                hardware=self.place.hardware,
                objective=self.sequences.objective,
                origins=self.origins,
            ),
            sequences=attrs.evolve(self.sequences, longest=longest),
            origins=self.origins,
        )

    @property
    def fewest(self) -> int:
        """Sequences at once, at least."""
        return self.sequences.objective.fewest_rows

    def fits(self, run: TrainSettings, *, batch: int | None = None, length: int | None = None) -> bool:
        """Whether there is a card, and the variation fits it."""
        found = self.footprint(run, batch=batch or self.fewest, length=length)
        return isinstance(found, Footprint) and found.budget is not None and found.may_run


def _report(question: Question, footprint: Footprint) -> EstimateReport:
    run, place, model = question.run, question.place, question.place.model
    budget, fit, memory = footprint.budget, footprint.fit, footprint.fit.memory
    known = budget is not None and memory is not None
    gpu = place.hardware.gpu
    return EstimateReport(
        model=model.name,
        num_parameters=model.num_parameters,
        sequence_length=question.sequences.longest,
        unit="GiB",
        card=gpu.name if gpu else None,
        vram_gb=_gib(gpu.vram_total_bytes) if gpu else None,
        free_gb=_gib(gpu.vram_free_bytes) if gpu else None,
        tiers=tuple(Tier(vram_gb, batch) for vram_gb, batch in BATCH_TIERS),
        tier_batch_size=nominal_tier(gpu.vram_total_bytes if gpu else None),
        recommended_batch_size=fit.micro_batch.value,
        gradient_accumulation=fit.accumulation.value,
        gradient_checkpointing=fit.gradient_checkpointing.value,
        fits=footprint.may_run if known or (budget is not None and footprint.too_large is not None) else None,
        refusal=footprint.too_large.message if footprint.too_large and budget else "",
        note=(guessed_family(model) if memory else unknown_memory(model)),
        memory=memory,
        peak_bytes=memory.peak_bytes if memory else None,
        reserved_bytes=memory.reserved_bytes if memory else None,
        needed_bytes=memory.needed_bytes if memory else None,
        largest_batch=largest_batch(question, run) if known else None,
        largest_sequence=_largest_sequence(question) if known else None,
        ways=tuple(_way(question, kind) for kind in WAYS),
        remedies=_remedies(question) if known and not footprint.may_run else (),
        cards=() if gpu else _common_cards(question),
    )


def largest_batch(question: Question, run: TrainSettings) -> int:
    """Sequences that fit at once; 0 when not even one does."""
    found = _largest(MOST_SEQUENCES, lambda batch: question.fits(run, batch=batch))
    return found if found >= question.fewest else 0


def _largest_sequence(question: Question) -> int:
    """Tokens of one sequence that fit, in steps of 128, up to the model's context."""
    longest = question.place.model.max_position_embeddings or question.sequences.longest
    steps = max(1, longest // SEQUENCE_STEP)
    return SEQUENCE_STEP * _largest(steps, lambda number: question.fits(question.run, length=SEQUENCE_STEP * number))


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The last of 1 … ``most`` that fits, where all before one that fits do too; 0 when none does."""
    return bisect.bisect_left(range(1, most + 1), True, key=lambda value: not fits(value))


def _way(question: Question, kind: WayKind) -> Way:
    run = kind.of(question.run)
    if run.training.mode is TrainMode.FULL and question.sequences.objective is not Objective.SFT:
        note = f"{question.sequences.objective.value} trains adapters alone"
        return Way(kind.name, kind.flags, None, 0, fits=False, largest_batch=0, note=note)
    recomputing = attrs.evolve(run, lora=attrs.evolve(run.lora, use_gradient_checkpointing=True))
    least = question.footprint(recomputing, batch=question.fewest)
    if not isinstance(least, Footprint):
        return Way(kind.name, kind.flags, None, 0, fits=False, largest_batch=0, note=errors_among(least)[0].message)
    memory = least.fit.memory
    is_known = memory is not None and least.budget is not None
    fits = is_known and least.may_run
    return Way(
        name=kind.name,
        flags=kind.flags,
        needed_bytes=memory.needed_bytes if memory else None,
        host_bytes=memory.host_bytes if memory else 0,
        fits=fits,
        largest_batch=largest_batch(question, recomputing) if fits else 0,
        note=_past_bound(question, run, least),
    )


def _past_bound(question: Question, run: TrainSettings, footprint: Footprint) -> str:
    if footprint.too_large is None or footprint.budget is None:
        return ""
    ceiling = plan_ceiling(run.training, question.place.rail, question.place.hardware, origins=question.origins)
    assert ceiling is not None
    return f"past the bound of {ceiling.value:g} B parameters"


def _remedies(question: Question) -> tuple[Remedy, ...]:
    changes = smallest_changes(question.run, question.place, sequences=question.sequences)
    return tuple(Remedy(change.flags, change.memory.needed_bytes) for change in changes)


def _common_cards(question: Question) -> tuple[CardRow, ...]:
    sizes = sorted({card.vram_gib for card in CARDS})
    return tuple(
        CardRow(
            vram_gb=size,
            cards=", ".join(card.name for card in CARDS if card.vram_gib == size),
            largest_batch=tuple(
                (way.name, way.largest_batch)
                for on_card in [attrs.evolve(question, place=_with(question.place, size))]
                for way in (_way(on_card, kind) for kind in WAYS)
            ),
        )
        for size in sizes
    )


def _with(place: Place, vram_gib: int) -> Place:
    return attrs.evolve(place, hardware=with_card(place.hardware, vram_gib))


def _gib(num_bytes: int) -> float:
    return round(num_bytes / GIB, 2)
