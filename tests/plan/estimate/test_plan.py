"""What ``estimate-vram`` answers, against what ``train`` would do."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from backprop.plan.decision import Problem, Refused
from backprop.plan.estimate.plan import EstimateFacts, plan_estimate, with_card
from backprop.plan.estimate.report import EstimateReport
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.cards import CARDS
from backprop.plan.facts.model import ModelFacts, ModelSource
from backprop.plan.memory.objective import Objective
from backprop.plan.memory.term import TermName
from backprop.plan.quantity import gib
from backprop.plan.settings.option import options_of
from backprop.plan.settings.resolve import Layer, Origins, Source
from backprop.plan.settings.training import Optimizer, TrainMode
from backprop.plan.settings.verbs.estimate_vram import EstimateVramSettings
from backprop.plan.training.number_format import NumberFormat
from backprop.plan.training.plan import TrainPlan
from tests.plan.estimate.questions import INSTALLED, LARGE_MACHINE, answer, estimated, way
from tests.plan.training.asking import World, with_free
from tests.plan.training.worlds import CPU_MACHINE, card

SEVEN_B = "Qwen/Qwen2.5-7B-Instruct"
ON_24_GIB = ("--vram-gb", "24")
MODELS = (SEVEN_B, "Qwen/Qwen2.5-0.5B", "google/gemma-2-9b", "mistralai/Mistral-7B-v0.1", "microsoft/phi-4")
RUNS: tuple[tuple[str, ...], ...] = (
    (),
    ("--no-load-in-4bit",),
    ("--lora-preset", "fast", "--optim", "adamw_torch"),
    ("--use-dora", "--lora-r", "64", "--max-seq-length", "4096"),
    ("--gradient-checkpointing", "--lora-dropout", "0"),
    ("--mode", "full", "--full-ft-ceiling-billions", "20"),
    ("--no-packing", "--grad-accum", "2"),
    ("--batch-size", "3", "--target-modules", "all-linear"),
)


def test_the_tiers_are_the_tables() -> None:
    report = estimated()
    assert [(tier.vram_gb, tier.batch_size) for tier in report.tiers] == [(48, 8), (32, 6), (24, 4), (16, 2), (0, 1)]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("run", RUNS, ids=" ".join)
@pytest.mark.parametrize("vram_gib", [12, 24, 80])
def test_the_recommended_batch_is_what_train_plans_for_rows_that_fill_the_sequence(
    name: str, run: tuple[str, ...], vram_gib: int
) -> None:
    report = estimated(name, *run, "--vram-gb", str(vram_gib))
    longest = 4096 if "4096" in run else 2048
    there = World(attrs.evolve(with_card(CPU_MACHINE, vram_gib), disk_free_bytes=None), ((longest, 4000),))
    plan = there.answer("--model", name, *run, "--allow-truncation")
    if isinstance(plan, TrainPlan):
        assert report.fits
        assert report.memory == plan.memory
        assert report.recommended_batch_size == plan.batch.micro_batch.value
        assert report.gradient_accumulation == plan.batch.accumulation.value
        assert report.gradient_checkpointing == plan.gradient_checkpointing.value
        assert report.remedies == ()
    else:
        assert not report.fits
        assert plan.problems[0].code == "RUNTIME_MEMORY_INSUFFICIENT"
        assert all(remedy.flags in plan.problems[0].hint for remedy in report.remedies)


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-3B", SEVEN_B, "Qwen/Qwen2.5-14B"])
@pytest.mark.parametrize("flags", [(), ("--full-ft-offload",), ("--full-ft-ceiling-billions", "20")], ids=str)
@pytest.mark.parametrize("vram_gib", [16, 80, 180])
def test_it_fits_where_train_takes_it_and_where_the_row_of_its_way_says_so(
    name: str, flags: tuple[str, ...], vram_gib: int
) -> None:
    """180 GiB hold all of the 14 B model, which is past the bound of 10 B."""
    asked = (name, "--mode", "full", *flags, "--gradient-checkpointing")
    machine = attrs.evolve(with_card(LARGE_MACHINE, vram_gib), disk_free_bytes=None)
    report = estimated(*asked, "--vram-gb", str(vram_gib), hardware=machine)
    answer = World(machine, ((2048, 4000),)).answer("--model", *asked)
    accepted = isinstance(answer, TrainPlan)
    row = way(report, "full-offload" if "--full-ft-offload" in flags else "full")
    assert (report.fits, row.fits) == (accepted, accepted)
    if isinstance(answer, Refused):
        is_bound = answer.problems[0].code == "RUNTIME_FULL_FT_MODEL_TOO_LARGE"
        assert (bool(report.refusal), bool(row.note)) == (is_bound, is_bound)
        assert (report.largest_batch, report.largest_sequence) == (0, 0)
        assert report.remedies
    else:
        assert report.refusal == row.note == ""


def test_without_a_card_memory_is_told_for_one_that_has_bfloat16() -> None:
    """As on a card of any size that is named, where the same run is asked for."""
    words = ("Qwen/Qwen2.5-1.5B", "--mode", "full", "--batch-size", "1", "--gradient-checkpointing")
    optim = ("--optim", "adamw_torch_fused")
    assert estimated(*words, *optim).memory == estimated(*words, *optim, "--vram-gb", "24").memory


@pytest.mark.parametrize("run", RUNS[:6], ids=" ".join)
@pytest.mark.parametrize("vram_gib", [12, 24, 48])
def test_one_sequence_more_than_the_largest_batch_does_not_fit(run: tuple[str, ...], vram_gib: int) -> None:
    words = (*run, "--vram-gb", str(vram_gib))
    largest = estimated(*words).largest_batch
    assert largest is not None
    if largest:
        assert estimated(*words, "--batch-size", str(largest)).fits
    assert not estimated(*words, "--batch-size", str(largest + 1)).fits


@pytest.mark.parametrize("run", RUNS[:4], ids=" ".join)
def test_a_sequence_longer_by_a_step_than_the_largest_does_not_fit(run: tuple[str, ...]) -> None:
    """Llama 3.1 knows more positions than any of these cards hold."""
    words = ("meta-llama/Llama-3.1-8B", *run, "--vram-gb", "32", "--batch-size", "1")
    longest = estimated(*words).largest_sequence
    assert longest is not None
    if longest:
        assert estimated(*words, "--max-seq-length", str(longest)).fits
    assert not estimated(*words, "--max-seq-length", str(longest + 64)).fits


def test_the_largest_sequence_is_at_most_the_models_context() -> None:
    assert estimated("Qwen/Qwen2.5-0.5B", "--vram-gb", "180").largest_sequence == 32768


@pytest.mark.parametrize("name", ["qlora", "lora", "full"])
@pytest.mark.parametrize("vram_gib", [16, 40, 80])
def test_each_ways_largest_batch_is_the_largest_that_train_takes(name: str, vram_gib: int) -> None:
    small = "Qwen/Qwen2.5-1.5B"
    found = way(estimated(small, "--vram-gb", str(vram_gib)), name)
    there = World(attrs.evolve(with_card(CPU_MACHINE, vram_gib), disk_free_bytes=None), ((2048, 4000),))
    asked = ("--model", small, *found.flags.split(), "--gradient-checkpointing", "--batch-size")
    assert found.largest_batch is not None
    if found.fits:
        plan = there.plan(*asked, str(found.largest_batch))
        assert plan.batch.micro_batch.value == found.largest_batch
    assert isinstance(there.answer(*asked, str(found.largest_batch + 1)), Refused)


def test_a_seventy_billion_model_does_not_fit_24_gb() -> None:
    report = estimated("meta-llama/Llama-3.1-70B", *ON_24_GIB)
    assert report.fits is False
    assert (report.largest_batch, report.largest_sequence, report.recommended_batch_size) == (0, 0, 1)
    assert not any(found.fits for found in report.ways)
    assert report.needed_bytes is not None
    assert report.needed_bytes > 40 << 30
    assert report.remedies


def test_every_remedy_makes_it_fit() -> None:
    words = ("Qwen/Qwen2.5-32B-Instruct", *ON_24_GIB)
    remedies = estimated(*words).remedies
    assert remedies
    for remedy in remedies:
        flags = remedy.flags.split()
        other = [flags.pop(flags.index("--model") + 1)] if "--model" in flags else [words[0]]
        changed = estimated(*other, *words[1:], *(flag for flag in flags if flag != "--model"))
        assert changed.fits
        assert changed.needed_bytes == remedy.needed_bytes


@pytest.mark.parametrize(("vram_gib", "fits"), [(48, False), (60, False), (80, True)])
def test_a_mixture_of_experts_stays_whole_in_memory_though_few_experts_work(vram_gib: int, fits: bool) -> None:
    """Qwen3-30B-A3B has 30.5 billion weights in two bytes, which no 4-bit format of linear layers reaches."""
    report = estimated("Qwen/Qwen3-30B-A3B", "--vram-gb", str(vram_gib))
    assert report.fits is fits
    assert report.needed_bytes is not None
    assert report.needed_bytes > 57 << 30


def test_offload_needs_the_hosts_memory_as_well_as_the_card() -> None:
    words = ("Qwen/Qwen2.5-3B", "--vram-gb", "24")
    large, little = (way(estimated(*words, hardware=host), "full-offload") for host in (LARGE_MACHINE, CPU_MACHINE))
    assert large.needed_bytes == little.needed_bytes
    assert large.host_bytes == little.host_bytes > 15 << 30
    assert (large.fits, little.fits) == (True, False)


def test_a_way_past_the_ceiling_does_not_fit_and_says_why() -> None:
    found = way(estimated("Qwen/Qwen2.5-14B", "--vram-gb", "180"), "full")
    assert not found.fits
    assert found.note == "past the bound of 10 B parameters"
    raised = way(estimated("Qwen/Qwen2.5-14B", "--vram-gb", "180", "--full-ft-ceiling-billions", "15"), "full")
    assert (raised.fits, raised.note) == (True, "")


def test_the_card_that_is_here_is_asked_about_with_what_is_free_of_it() -> None:
    here = card(24)
    assert here.gpu is not None
    busy = attrs.evolve(here, gpus=(attrs.evolve(here.gpu, vram_free_bytes=14 << 30),))
    whole, part = (estimated(hardware=hardware) for hardware in (here, busy))
    assert (whole.card, whole.vram_gb, whole.free_gb, part.free_gb) == ("card", 24.0, 24.0, 14.0)
    assert part.tier_batch_size == whole.tier_batch_size == 4
    assert part.recommended_batch_size < whole.recommended_batch_size
    named = estimated("--vram-gb", "24", hardware=busy)
    assert (named.vram_gb, named.free_gb) == (24.0, 23.28)
    assert named.recommended_batch_size == whole.recommended_batch_size


def test_packages_that_are_missing_here_are_assumed_for_a_card_that_is_not() -> None:
    bare = attrs.evolve(INSTALLED, packages=())
    assert way(estimated("--vram-gb", "16", software=bare), "qlora").needed_bytes is not None
    here = way(estimated(hardware=card(24), software=bare), "qlora")
    assert here.needed_bytes is None
    assert "bitsandbytes" in here.note


def test_without_a_card_there_is_a_table_over_common_cards_that_agrees_with_each_of_them() -> None:
    report = estimated()
    assert (report.card, report.vram_gb, report.fits, report.largest_batch) == (None, None, None, None)
    assert [row.vram_gb for row in report.cards] == sorted({one.vram_gib for one in CARDS})
    assert {name for row in report.cards for name in row.cards.split(", ")} == {one.name for one in CARDS} - {
        "T4",
        "V100",
    }
    for row in report.cards[::4]:
        there = estimated("--vram-gb", str(row.vram_gb))
        assert dict(row.largest_batch) == {found.name: found.largest_batch for found in there.ways}
        assert there.cards == ()


def test_on_a_card_of_unknown_memory_the_tier_is_two() -> None:
    report = estimated()
    assert (report.tier_batch_size, report.recommended_batch_size) == (2, 2)


CHANGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "--load-in-4bit": (("--load-in-4bit",), ("--no-load-in-4bit",)),
    "--max-seq-length": ((), ("--max-seq-length", "1024")),
    "--dtype": (("--no-load-in-4bit",), ("--no-load-in-4bit", "--dtype", "float32")),
    "--packing": (("--batch-size", "1"), ("--batch-size", "1", "--no-packing")),
    "--batch-size": ((), ("--batch-size", "1")),
    "--grad-accum": ((), ("--grad-accum", "1")),
    "--optim": ((), ("--optim", "sgd")),
    "--mode": ((), ("--mode", "full")),
    "--full-ft-offload": (("--mode", "full"), ("--mode", "full", "--full-ft-offload")),
    "--full-ft-ceiling-billions": ((), ("--full-ft-ceiling-billions", "0.4")),
    "--bf16": (("--no-load-in-4bit", "--no-bf16", "--no-fp16"), ("--no-load-in-4bit", "--bf16", "--no-fp16")),
    "--fp16": (("--mode", "full"), ("--mode", "full", "--fp16")),
    "--fp8": (("--no-load-in-4bit",), ("--fp8",)),
    "--method": ((), ("--method", "orpo")),
    "--lora-preset": ((), ("--lora-preset", "fast")),
    "--lora-r": ((), ("--lora-r", "8")),
    "--lora-dropout": ((), ("--lora-dropout", "0")),
    "--target-modules": ((), ("--target-modules", "q_proj")),
    "--use-dora": ((), ("--use-dora",)),
    "--gradient-checkpointing": (("--gradient-checkpointing",), ("--no-gradient-checkpointing",)),
}
"""For each flag two command lines that differ in nothing else."""


@pytest.mark.parametrize("flag", CHANGES)
def test_every_flag_that_shapes_a_run_changes_the_answer(flag: str) -> None:
    before, after = (
        estimated("Qwen/Qwen2.5-0.5B", "--vram-gb", "24", *words, hardware=LARGE_MACHINE) for words in CHANGES[flag]
    )
    assert attrs.evolve(before, sequence_length=0) != attrs.evolve(after, sequence_length=0)
    assert (before.memory, before.ways) != (after.memory, after.ways)


def test_the_flags_that_shape_a_run_are_all_tried() -> None:
    others = {"MODEL", "--model", "--vram-gb", "--ram-gb", "--config", "--json"}
    assert {bound.flag for bound in options_of(EstimateVramSettings)} - others == set(CHANGES)


@pytest.mark.parametrize("method", ["sft", "orpo", "simpo", "kto"])
def test_preference_methods_take_no_less_than_supervised_tuning(method: str) -> None:
    words = ("--vram-gb", "24", "--batch-size", "2", "--gradient-checkpointing", "--no-packing")
    plain, preference = estimated(*words), estimated(*words, "--method", method)
    assert plain.peak_bytes is not None
    assert preference.peak_bytes is not None
    assert preference.peak_bytes >= plain.peak_bytes


def test_a_family_that_is_not_known_is_named_with_what_it_is_counted_as() -> None:
    model = facts_from_config({**ARCHITECTURES[SEVEN_B], "model_type": "falcon3"}, name="x", source=ModelSource.HUB)
    settings = EstimateVramSettings(name="x", vram_gb=24)
    report = plan_estimate(settings, EstimateFacts(model, CPU_MACHINE, INSTALLED), origins=Origins())
    assert isinstance(report, EstimateReport)
    assert report.memory is not None
    (problem,) = report.warnings
    assert problem.code == "RUNTIME_MEMORY_UNKNOWN"
    assert "falcon3" in problem.message
    assert estimated(SEVEN_B, "--vram-gb", "24").warnings == ()


def test_a_model_that_nobody_found_is_the_only_problem() -> None:
    problem = Problem("INPUT_MODEL_NOT_FOUND", "No such model.")
    facts = EstimateFacts(Absent(problem), CPU_MACHINE, INSTALLED)
    assert plan_estimate(EstimateVramSettings(), facts, origins=Origins()) == Refused((problem,))


def test_settings_that_cannot_be_are_refused_as_train_refuses_them() -> None:
    refused = answer("--vram-gb", "24", "--target-modules", "q_prj")
    assert isinstance(refused, Refused)
    (problem,) = refused.problems
    assert (problem.code, problem.hint) == ("CONFIG_INVALID_SETTING", "Did you mean q_proj?")
    assert isinstance(answer("--vram-gb", "24", "--bf16", "--fp16"), Refused)


def test_kto_takes_two_sequences_at_once_also_on_a_card_whose_tier_is_one() -> None:
    assert estimated("Qwen/Qwen2.5-0.5B", "--vram-gb", "8", "--method", "kto").recommended_batch_size == 2
    assert estimated("Qwen/Qwen2.5-0.5B", "--vram-gb", "8").recommended_batch_size == 1


def test_the_model_is_what_the_strongest_source_names() -> None:
    small, other = "Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-1.5B"
    variable = Layer(Source.ENVIRONMENT, "", {"model.name": small})
    assert named(estimated(layers=[variable])) == (small, "BACKPROPAGATE_MODEL__NAME")
    assert named(estimated("--model", other, layers=[variable])) == (other, "--model")
    assert named(estimated(other, layers=[variable])) == (other, "MODEL")
    assert named(estimated()) == (SEVEN_B, "default")


def named(report: EstimateReport) -> tuple[str, str]:
    return report.model, report.model_from


def test_two_names_for_the_model_are_one_too_many() -> None:
    refused = answer("Qwen/Qwen2.5-0.5B", "--model", SEVEN_B)
    assert isinstance(refused, Refused)
    (problem,) = refused.problems
    assert problem.code == "CONFIG_INVALID_SETTING"
    assert "MODEL is Qwen/Qwen2.5-0.5B and --model is Qwen/Qwen2.5-7B-Instruct" in problem.message
    assert named(estimated(SEVEN_B, "--model", SEVEN_B)) == (SEVEN_B, "MODEL")


def test_the_address_of_a_models_page_is_its_name() -> None:
    assert estimated("https://huggingface.co/Qwen/Qwen2.5-0.5B/tree/main").model == "Qwen/Qwen2.5-0.5B"


@pytest.mark.parametrize("size", [-1, 0, float("nan"), float("inf"), "24", 1e9, True])
def test_a_size_that_no_card_has_is_refused_in_python_as_on_the_command_line(size: Any) -> None:
    facts = EstimateFacts(Absent(Problem("INPUT_MODEL_NOT_FOUND", "No such model.")), CPU_MACHINE, INSTALLED)
    refused = plan_estimate(EstimateVramSettings(vram_gb=size), facts, origins=Origins())
    assert isinstance(refused, Refused)
    problem = refused.problems[0]
    assert (problem.code, problem.where) == ("CONFIG_INVALID_SETTING", "vram_gb")
    assert "above 0 and of at most 512" in problem.message


@pytest.mark.parametrize("vram_gib", [8, 12, 16, 24, 48, 80])
def test_what_is_chosen_for_a_named_card_leaves_what_such_cards_never_have_free(vram_gib: int) -> None:
    for name in ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-3B", SEVEN_B):
        report = estimated(name, "--vram-gb", str(vram_gib))
        assert report.free_bytes == round(vram_gib * 0.97 * 2**30)
        assert report.needed_bytes is not None
        assert report.needed_bytes <= report.free_bytes or not report.fits
        assert all((found.needed_bytes or 0) <= report.free_bytes for found in report.ways if found.fits)
        assert all(remedy.needed_bytes <= report.free_bytes for remedy in report.remedies)


def test_experts_that_stay_whole_over_4_bit_weights_are_told_with_their_size() -> None:
    mixture = ("mistralai/Mixtral-8x7B-v0.1", "--vram-gb", "80")
    report = estimated(*mixture)
    (note,) = report.notes
    assert note.startswith("The experts stay in 16 bits: 84.0 GiB of ")
    assert report.terms[0].id == "frozen_weights"
    assert report.terms[0].bytes > 84 << 30
    assert estimated(*mixture, "--no-load-in-4bit").notes == ()
    assert estimated("--vram-gb", "24").notes == ()


def test_what_is_not_predicted_is_unknown_and_warned_of() -> None:
    report = estimated("--vram-gb", "80", model=foreign_mixture())
    assert (report.fits, report.needed_bytes, report.terms) == (None, None, ())
    assert [found.fits for found in report.ways] == [None, None, False, False]
    assert [found.largest_batch for found in report.ways] == [None, None, 0, 0]
    assert [problem.code for problem in report.warnings] == ["RUNTIME_MEMORY_UNKNOWN"]


def foreign_mixture() -> ModelFacts:
    """A mixture of a kind that is not modelled."""
    name = "Qwen/Qwen3-30B-A3B"
    shape = facts_from_config(ARCHITECTURES[name], name=name, source=ModelSource.TABLE)
    return attrs.evolve(shape, model_type="deepseek_v3")


def test_a_method_that_full_fine_tuning_does_not_have_gets_a_warning_instead_of_numbers() -> None:
    report = estimated("--vram-gb", "80", "--mode", "full", "--method", "orpo")
    assert (report.fits, report.memory, report.needed_bytes, report.largest_batch) == (None, None, None, None)
    (problem,) = report.warnings
    assert problem.message == "--method orpo does not go with --mode full: orpo trains adapters alone."
    assert way(report, "full").note == "orpo trains adapters alone"


def test_the_ways_say_what_they_assume_and_heed_the_users_recomputation() -> None:
    small = ("Qwen/Qwen2.5-0.5B", "--vram-gb", "24")
    usual, asked = (way(estimated(*small, *more), "qlora") for more in ((), ("--no-gradient-checkpointing",)))
    assert (usual.batch_size, usual.gradient_checkpointing, usual.optimizer) == (1, True, Optimizer.ADAMW_TORCH_FUSED)
    assert (asked.batch_size, asked.gradient_checkpointing) == (1, False)
    assert (asked.needed_bytes or 0) > (usual.needed_bytes or 0)
    assert (asked.largest_batch or 0) < (usual.largest_batch or 0)
    assert way(estimated(*small, "--method", "kto"), "qlora").batch_size == 2


def test_the_hosts_memory_can_be_named_and_what_is_missing_of_it_is_told() -> None:
    words = ("Qwen/Qwen2.5-3B", "--vram-gb", "24", "--ram-gb")
    little, large = (way(estimated(*words, size), "full-offload") for size in ("16", "64"))
    assert little.fits is False
    assert little.note == f"needs {gib(little.host_bytes)} of host memory, and 16.0 GiB are free"
    assert (large.fits, large.note) == (True, "")
    whole = estimated(*words, "16", "--mode", "full", "--full-ft-offload")
    assert whole.why_not == f"it {little.note}"


def test_a_smaller_optimizer_is_among_what_would_make_it_fit() -> None:
    bare = attrs.evolve(INSTALLED, packages=())
    here = with_card(CPU_MACHINE, 24)
    remedies = estimated("Qwen/Qwen2.5-3B", "--mode", "full", hardware=here, software=bare).remedies
    assert remedies[0].flags == "--optim adafactor"


def test_states_that_can_be_paged_out_are_weighed() -> None:
    tight = with_free(with_card(CPU_MACHINE, 16), 12 << 30)
    words = ("Qwen/Qwen2.5-3B", "--optim", "paged_adamw_8bit", "--lora-r", "1024", "--batch-size", "1")
    (note,) = estimated(*words, hardware=tight).notes
    assert "can be paged out to host memory" in note
    tighter = with_free(tight, 8 << 30)
    (note,) = estimated(*words, hardware=tighter).notes
    assert "would not be enough" in note


@pytest.mark.parametrize(
    ("words", "inert"),
    [
        (("--mode", "full", "--use-dora"), "--use-dora has no effect with --mode full."),
        (("--full-ft-offload",), "--full-ft-offload has no effect with --mode lora."),
        (("--max-seq-length", "99999"), "--max-seq-length is 99,999, and Qwen/Qwen2.5-0.5B knows 32,768 positions"),
    ],
)
def test_a_flag_without_effect_is_said_to_have_none(words: tuple[str, ...], inert: str) -> None:
    (problem,) = estimated("Qwen/Qwen2.5-0.5B", "--vram-gb", "24", *words).warnings
    assert problem.message.startswith(inert)
    assert estimated("Qwen/Qwen2.5-0.5B", "--vram-gb", "24").warnings == ()


def test_the_answer_says_what_its_numbers_are_for() -> None:
    run = estimated("--vram-gb", "16", "--lora-r", "8").run
    assert (run.method, run.mode, run.lora_rank) == (Objective.SFT, TrainMode.LORA, 8)
    assert (run.load_in_4bit, run.dtype, run.packing) == (True, NumberFormat.BFLOAT16, True)
    assert (run.optimizer, run.gradient_checkpointing) == (Optimizer.PAGED_ADAMW_8BIT, True)
    full = estimated("Qwen/Qwen2.5-0.5B", "--vram-gb", "16", "--mode", "full").run
    assert (full.lora_rank, full.load_in_4bit, full.target_modules) == (None, False, None)


def test_the_terms_have_names_that_stay() -> None:
    assert {term.name.lower() for term in TermName} == {
        "frozen_weights", "quantization_state", "trainable_weights", "optimizer", "gradients", "activations",
        "recompute", "dequantized", "backward", "logits", "step", "workspace", "input",
    }  # fmt: skip
    report = estimated("--vram-gb", "24")
    assert sum(term.bytes for term in report.terms) == report.peak_bytes


def test_a_problem_of_the_model_is_where_the_model_was_named() -> None:
    problem = Problem("INPUT_MODEL_NOT_FOUND", "No such model.", where="--model")
    facts = EstimateFacts(Absent(problem), CPU_MACHINE, INSTALLED)
    for asked, place in ((EstimateVramSettings(name="a/b"), "MODEL"), (EstimateVramSettings(), "--model")):
        assert plan_estimate(asked, facts, origins=Origins()) == Refused((attrs.evolve(problem, where=place),))
