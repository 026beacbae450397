"""Which runs of a model fit which card, by the same footprint that ``train`` plans with."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Problem, Refused, Remedy
from backprop.plan.estimate.advice import check_applies, notes_on, shortage
from backprop.plan.estimate.question import Question, largest_batch, largest_sequence
from backprop.plan.estimate.report import CardRow, EstimateReport, RunShape, TermRow, Tier
from backprop.plan.estimate.ways import WAYS, plan_way
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.cards import CARDS
from backprop.plan.facts.hardware import Gpu, HardwareFacts
from backprop.plan.facts.model import ModelFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.quantity import GIB
from backprop.plan.settings.model import ModelSettings
from backprop.plan.settings.resolve import Origins, Source, check_values
from backprop.plan.settings.verbs.estimate_vram import EstimateVramSettings
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.batch import BATCH_TIERS, nominal_tier
from backprop.plan.training.changes import smallest_changes
from backprop.plan.training.facts import plan_sequence_length
from backprop.plan.training.float8 import FLOAT8_CAPABILITY
from backprop.plan.training.footprint import Footprint, Place, Sequences
from backprop.plan.training.packing import may_pack
from backprop.plan.training.rail import Rail

ASSUMED_CAPABILITY = (8, 9)
"""Of a card that is only named by its size: one with bfloat16."""
NOMINAL_FREE_SHARE = 0.97
"""Of a card's nominal size what is free before anything runs: driver and firmware keep 1 to 3 % of a consumer card
(23.5 of 24 GiB, 11.7 of 12), less of the largest; where ECC is in memory, as on L4 and A10, it takes 6 % more."""
NEEDED_SOFTWARE = ("bitsandbytes", "torchao")
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
    wrong = (*check_values(settings, origins=origins), *_two_models(settings, origins))
    absent = (_where_named(model.problem, settings, origins),) if isinstance(model, Absent) else ()
    if wrong or isinstance(model, Absent):
        return Refused((*wrong, *absent))
    run = TrainSettings(
        model=attrs.evolve(settings.model, name=settings.asked_model),
        data=settings.data,
        training=settings.training,
        lora=settings.lora,
    )
    place = Place(model, *_card(settings, facts), rail=Rail.CUDA)
    length = plan_sequence_length(settings.model, model, origins=origins).value
    is_packed = may_pack(settings.data.packing, model=model, objective=settings.method, origins=origins)
    sequences = Sequences(length, is_packed=is_packed, objective=settings.method)
    question = Question(run, place, sequences, origins)
    footprint = question.footprint(run)
    if not isinstance(footprint, Footprint):
        return Refused(footprint)
    report = _report(question, footprint)
    return attrs.evolve(
        report,
        model_from=_named_by(settings, origins),
        is_nominal=settings.vram_gb is not None,
        warnings=check_applies(question, footprint),
    )


def _two_models(settings: EstimateVramSettings, origins: Origins) -> tuple[Problem, ...]:
    flag = origins.of("model.name")
    is_given_twice = settings.name is not None and flag is not None and flag.source is Source.FLAG
    if not is_given_twice or settings.name == settings.model.name:
        return ()
    message = f"MODEL is {settings.name} and --model is {settings.model.name}: name one."
    return (Problem("CONFIG_INVALID_SETTING", message, where="MODEL, --model", hint="Leave one of them out."),)


def _where_named(problem: Problem, settings: EstimateVramSettings, origins: Origins) -> Problem:
    """The problem at the place that named the model; probes know only of --model."""
    source = _named_by(settings, origins)
    return problem if problem.where != "--model" or source == "default" else attrs.evolve(problem, where=source)


def _named_by(settings: EstimateVramSettings, origins: Origins) -> str:
    if settings.name is not None:
        return "MODEL"
    origin = origins.of("model.name")
    if origin is not None:
        return origin.name
    return "default" if settings.model.name == ModelSettings().name else "model.name"


def _card(settings: EstimateVramSettings, facts: EstimateFacts) -> tuple[HardwareFacts, SoftwareFacts]:
    """The machine with the card that is asked about; a card that is not here comes with the packages it needs."""
    hardware = facts.hardware
    if settings.ram_gb is not None:
        host = round(settings.ram_gb * GIB)
        hardware = attrs.evolve(hardware, ram_total_bytes=host, ram_available_bytes=host)
    if settings.vram_gb is None and hardware.gpu is not None:
        return hardware, facts.software
    packages = dict(facts.software.packages) | dict.fromkeys(NEEDED_SOFTWARE, "any")
    software = attrs.evolve(facts.software, packages=tuple(sorted(packages.items())))
    if settings.vram_gb is None:
        return attrs.evolve(hardware, gpus=()), software
    capability = FLOAT8_CAPABILITY if settings.training.fp8 else ASSUMED_CAPABILITY
    return with_card(hardware, settings.vram_gb, capability=capability), software


def with_card(
    hardware: HardwareFacts, vram_gib: float, *, capability: tuple[int, int] = ASSUMED_CAPABILITY
) -> HardwareFacts:
    """The machine with an empty card of the nominal size; host memory is taken as it is."""
    size = round(vram_gib * GIB)
    gpu = Gpu(f"a card with {vram_gib:g} GiB", size, round(size * NOMINAL_FREE_SHARE), capability)
    return attrs.evolve(hardware, gpus=(gpu,), gpus_absent="")


def _report(question: Question, footprint: Footprint) -> EstimateReport:
    run, place, model = question.run, question.place, question.place.model
    budget, fit = footprint.budget, footprint.fit
    memory = None if question.lacks_method(run) else fit.memory
    known = budget is not None and memory is not None
    fits = footprint.may_run if known or (budget is not None and footprint.too_large is not None) else None
    gpu = place.hardware.gpu
    return EstimateReport(
        model=model.name,
        model_from="",
        num_parameters=model.num_parameters,
        sequence_length=question.sequences.longest,
        unit="GiB",
        card=gpu.name if gpu else None,
        vram_gb=_gib(gpu.vram_total_bytes) if gpu else None,
        free_gb=_gib(gpu.vram_free_bytes) if gpu else None,
        free_bytes=gpu.vram_free_bytes if gpu else None,
        is_nominal=False,
        host_free_bytes=place.hardware.ram_available_bytes,
        tiers=tuple(Tier(vram_gb, batch) for vram_gb, batch in BATCH_TIERS),
        tier_batch_size=nominal_tier(gpu.vram_total_bytes if gpu else None),
        recommended_batch_size=fit.micro_batch.value,
        gradient_accumulation=fit.accumulation.value,
        gradient_checkpointing=fit.gradient_checkpointing.value,
        fits=fits,
        refusal=footprint.too_large.message if footprint.too_large and budget else "",
        why_not=shortage(footprint) if fits is False else "",
        run=_shape(question, footprint),
        memory=memory,
        terms=_terms(memory),
        peak_bytes=memory.peak_bytes if memory else None,
        reserved_bytes=memory.reserved_bytes if memory else None,
        needed_bytes=memory.needed_bytes if memory else None,
        largest_batch=largest_batch(question, run) if known else None,
        largest_sequence=largest_sequence(question) if known else None,
        ways=tuple(plan_way(question, kind) for kind in WAYS),
        remedies=_remedies(question) if fits is False else (),
        cards=() if gpu else _common_cards(question),
        notes=notes_on(question, footprint),
    )


def _shape(question: Question, footprint: Footprint) -> RunShape:
    run, fit, precision, adapter = question.run, footprint.fit, footprint.precision, footprint.adapter
    return RunShape(
        method=question.sequences.objective,
        mode=run.training.mode,
        lora_rank=adapter.rank.value if adapter else None,
        target_modules=adapter.targets.value if adapter else None,
        use_dora=adapter is not None and adapter.use_dora,
        load_in_4bit=precision.load_in_4bit.value,
        dtype=precision.compute.value,
        weights_dtype=precision.storage,
        optimizer=footprint.optimizer.value,
        packing=question.sequences.is_packed,
        batch_size=fit.micro_batch.value,
        gradient_accumulation=fit.accumulation.value,
        gradient_checkpointing=fit.gradient_checkpointing.value,
        full_ft_offload=adapter is None and run.training.full_ft_offload,
    )


def _terms(memory: MemoryPlan | None) -> tuple[TermRow, ...]:
    return tuple(TermRow(t.name.name.lower(), t.name.value, t.bytes) for t in memory.terms) if memory else ()


def _remedies(question: Question) -> tuple[Remedy, ...]:
    changes = smallest_changes(question.run, question.place, sequences=question.sequences)
    return tuple(Remedy(change.flags, change.memory.needed_bytes) for change in changes)


def _common_cards(question: Question) -> tuple[CardRow, ...]:
    known = [card for card in CARDS if card.has_bf16]
    sizes = sorted({card.vram_gib for card in known})
    return tuple(
        CardRow(
            vram_gb=size,
            cards=", ".join(card.name for card in known if card.vram_gib == size),
            largest_batch=tuple(
                (way.name, way.largest_batch)
                for on_card in [attrs.evolve(question, place=_with(question.place, size))]
                for way in (plan_way(on_card, kind) for kind in WAYS)
            ),
        )
        for size in sizes
    )


def _with(place: Place, vram_gib: int) -> Place:
    return attrs.evolve(place, hardware=with_card(place.hardware, vram_gib))


def _gib(num_bytes: int) -> float:
    return round(num_bytes / GIB, 2)
