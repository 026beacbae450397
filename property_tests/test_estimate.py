"""Laws of what ``estimate-vram`` answers, and of the hints that ``train`` gives."""

from __future__ import annotations

import re
from typing import Any

import attrs
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from backprop.cli.arguments import parse_arguments
from backprop.plan.decision import Refused, errors_among
from backprop.plan.estimate.plan import EstimateFacts, plan_estimate
from backprop.plan.estimate.report import EstimateReport
from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.dataset import DataFacts, DatasetFacts
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts, ModelSource
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.data import DataSettings
from backprop.plan.settings.lora import LoraPreset, LoraSettings
from backprop.plan.settings.model import ModelSettings
from backprop.plan.settings.option import options_of
from backprop.plan.settings.resolve import Origins, Resolved, resolve
from backprop.plan.settings.training import Optimizer, TrainingSettings, TrainMode
from backprop.plan.settings.verbs.estimate_vram import EstimateVramSettings
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.batch import nominal_tier
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.plan import TrainPlan, plan_train
from backprop.plan.wire.converter import from_data, to_data
from property_tests.strategies.training import GIB, hardware, models, train_facts, train_settings

MACHINE = HardwareFacts(
    system="Linux",
    machine="x86_64",
    num_cpus=8,
    cpu_has_bf16=True,
    ram_total_bytes=256 * GIB,
    ram_available_bytes=200 * GIB,
    disk_free_bytes=None,
    gpus_absent="NVML is not installed",
)
SOFTWARE = SoftwareFacts("3.11", (("bitsandbytes", "0.50"),))
FULL = TrainingSettings(mode=TrainMode.FULL, optim=Optimizer.ADAMW_TORCH)
SMOL = facts_from_config(
    ARCHITECTURES["HuggingFaceTB/SmolLM2-1.7B"], name="HuggingFaceTB/SmolLM2-1.7B", source=ModelSource.TABLE
)
HINTED = re.compile(r"(--[^;:()]+?) \(\d+\.\d GiB\)")


@st.composite
def questions(draw: st.DrawFn) -> EstimateVramSettings:
    """What may be asked of any model, with an optimizer of the asker's, so that only memory depends on the card."""
    lora = LoraSettings(
        preset=draw(st.sampled_from(LoraPreset)),
        r=draw(st.none() | st.integers(1, 512)),
        lora_dropout=draw(st.sampled_from((0.0, 0.1))),
        use_dora=draw(st.booleans()),
        use_gradient_checkpointing=draw(st.none() | st.booleans()),
    )
    training = TrainingSettings(
        mode=draw(st.sampled_from(TrainMode)),
        optim=draw(st.sampled_from((Optimizer.ADAMW_TORCH, Optimizer.PAGED_ADAMW_8BIT, Optimizer.SGD))),
        gradient_accumulation_steps=draw(st.integers(1, 8)),
    )
    in_4bit = draw(st.none() | st.booleans()) if training.mode is TrainMode.LORA else None
    model = ModelSettings(load_in_4bit=in_4bit, max_seq_length=draw(st.integers(8, 8192)))
    data = DataSettings(packing=draw(st.booleans()))
    method = draw(st.sampled_from(Objective))
    return EstimateVramSettings(method=method, model=model, data=data, training=training, lora=lora)


def estimated(asked: EstimateVramSettings, model: ModelFacts, *, vram_gb: float | None) -> EstimateReport:
    report = plan_estimate(
        attrs.evolve(asked, vram_gb=vram_gb), EstimateFacts(model, MACHINE, SOFTWARE), origins=Origins()
    )
    assert isinstance(report, EstimateReport)
    return report


@settings(max_examples=40)
@given(questions(), models(), st.floats(1, 400), st.floats(0, 100))
def test_more_memory_never_lowers_what_is_recommended_or_fits(
    asked: EstimateVramSettings, model: ModelFacts, vram_gb: float, more: float
) -> None:
    less, greater = (estimated(asked, model, vram_gb=size) for size in (vram_gb, vram_gb + more))
    assert greater.recommended_batch_size >= less.recommended_batch_size or not less.fits
    assert (greater.largest_batch or 0) >= (less.largest_batch or 0)
    assert (greater.largest_sequence or 0) >= (less.largest_sequence or 0)
    assert (greater.fits, True) != (False, less.fits)
    for before, after in zip(less.ways, greater.ways, strict=True):
        assert (after.largest_batch or 0) >= (before.largest_batch or 0)
        assert (before.fits is None) == (after.fits is None)


@settings(max_examples=40)
@given(questions(), models(), st.floats(1, 400))
@example(EstimateVramSettings(method=Objective.KTO, training=FULL), SMOL, 15.0)
def test_an_answer_agrees_with_itself(asked: EstimateVramSettings, model: ModelFacts, vram_gb: float) -> None:
    report = estimated(asked, model, vram_gb=vram_gb)
    assert report.tier_batch_size == nominal_tier(round(vram_gb * GIB))
    fewest = 2 if asked.method is Objective.KTO else 1
    assert fewest <= report.recommended_batch_size <= max(fewest, report.tier_batch_size)
    assert (report.fits is True) == (report.remedies == ()) or not report.fits
    update = report.recommended_batch_size * report.gradient_accumulation
    assert update >= report.tier_batch_size * asked.training.gradient_accumulation_steps
    if report.fits and asked.method is not Objective.KTO:
        assert (report.largest_batch or 0) >= report.recommended_batch_size
    if report.memory is not None and report.needed_bytes is not None:
        assert report.free_bytes is not None
        assert report.free_bytes < round(vram_gb * GIB)
        assert report.fits == (not report.refusal and report.needed_bytes <= report.free_bytes)
    assert from_data(to_data(report), EstimateReport) == report


@st.composite
def tight_worlds(draw: st.DrawFn) -> tuple[TrainSettings, TrainFacts]:
    """Settings of either mode, and a machine in which memory may be short, host memory included."""
    asked, facts = draw(train_settings()), draw(train_facts(is_roomy=False))
    training = attrs.evolve(
        asked.training, mode=draw(st.sampled_from(TrainMode)), full_ft_offload=draw(st.booleans()), optim=Optimizer.AUTO
    )
    machine = attrs.evolve(draw(hardware(is_roomy=False)), disk_free_bytes=None)
    return attrs.evolve(asked, training=training), attrs.evolve(facts, hardware=machine)


@settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
@given(tight_worlds())
def test_the_flags_of_a_hint_make_the_run_fit(case: tuple[TrainSettings, TrainFacts]) -> None:
    """The flags are read by the program's own parser, and the whole plan is made anew."""
    asked, facts = case
    refused = plan_train(asked, facts, origins=Origins())
    assume(isinstance(refused, Refused))
    assert isinstance(refused, Refused)
    (problem,) = errors_among(refused.problems)
    for flags in HINTED.findall(problem.hint):
        changed = with_flags(asked, flags)
        plan = plan_train(changed, seen(facts, changed, flags), origins=Origins())
        assert isinstance(plan, TrainPlan), (flags, plan)


def with_flags(asked: TrainSettings, flags: str) -> TrainSettings:
    arguments = parse_arguments(("train", *flags.split()))
    assert not arguments.problems
    read = resolve(TrainSettings, [arguments.flags])
    assert isinstance(read, Resolved)
    changed: Any = asked
    for bound in options_of(TrainSettings):
        if bound.key in arguments.flags.values:
            group = bound.path[0]
            value = getattr(getattr(read.settings, group), bound.name)
            changed = attrs.evolve(changed, **{group: attrs.evolve(getattr(changed, group), **{bound.name: value})})
    assert isinstance(changed, TrainSettings)
    return changed


def seen(facts: TrainFacts, asked: TrainSettings, flags: str) -> TrainFacts:
    """What a look with other settings finds: rows cut at the length, and the model that was named."""
    assert isinstance(facts.data, DataFacts)
    longest = asked.model.max_seq_length
    data = DataFacts(cut(facts.data.train, longest), facts.data.heldout and cut(facts.data.heldout, longest))
    model = facts.model
    if "--model" in flags:
        name = asked.model.name
        model = facts_from_config(ARCHITECTURES[name], name=name, source=ModelSource.DIRECTORY, directory="/m")
    return attrs.evolve(facts, data=data, model=model)


def cut(rows: DatasetFacts, longest: int) -> DatasetFacts:
    assert rows.tokens is not None
    counts: dict[int, int] = {}
    for length, count in rows.tokens.length_counts:
        counts[min(length, longest)] = counts.get(min(length, longest), 0) + count
    lost = attrs.evolve(
        rows.tokens.truncated, rows=sum(n for length, n in rows.tokens.length_counts if length > longest)
    )
    return attrs.evolve(
        rows, tokens=attrs.evolve(rows.tokens, length_counts=tuple(sorted(counts.items())), truncated=lost)
    )
