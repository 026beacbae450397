"""What a training plan decides, rule by rule."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest

from backprop.plan.decision import Decision, Problem, Refused, Severity
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.dataset import RowCount
from backprop.plan.settings.lora import LoraPreset
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Backend, Optimizer, Scheduler, TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.adapter import AdapterPlan
from backprop.plan.training.arguments import load_arguments, lora_arguments, quantization_arguments, sft_arguments
from backprop.plan.training.batch import nominal_tier
from backprop.plan.training.evaluation import EvaluationState
from backprop.plan.training.facts import TrainFacts, plan_sequence_length
from backprop.plan.training.fingerprint import fingerprint
from backprop.plan.training.number_format import NumberFormat
from backprop.plan.training.plan import TrainPlan, plan_train
from backprop.plan.training.rail import Rail
from tests.plan.training.worlds import (
    CPU_MACHINE,
    GIB,
    INSTALLED,
    card,
    dataset,
    from_flags,
    planned,
    settings,
    tokens,
    world,
)


def refused(wanted: object, facts: object) -> tuple[Problem, ...]:
    plan = plan_train(wanted, facts, origins=Origins())  # type: ignore[arg-type]
    assert isinstance(plan, Refused)
    return plan.problems


def adapter(wanted: TrainSettings, facts: TrainFacts) -> AdapterPlan:
    plan = planned(wanted, facts)
    assert plan.adapter is not None
    return plan.adapter


def test_explicit_learning_rate_wins_and_names_its_flag() -> None:
    plan = planned(settings(training={"learning_rate": 3e-3}), world(), from_flags(training__learning_rate="--lr"))
    assert plan.learning_rate.peak == Decision(3e-3, "set by --lr", "You asked for it.")


def test_an_unset_learning_rate_is_ten_times_full_fine_tuning() -> None:
    assert planned(settings(), world()).learning_rate.peak.value == pytest.approx(2e-4)


def test_the_presets_set_rank_alpha_and_targets() -> None:
    quality = adapter(settings(), world())
    fast = adapter(settings(lora={"preset": LoraPreset.FAST}), world())
    assert (quality.rank.value, quality.alpha.value, len(quality.targets.value)) == (256, 512, 7)
    assert (fast.rank.value, fast.alpha.value, fast.targets.value) == (16, 32, ("q_proj", "v_proj"))


def test_the_fast_preset_finds_the_fused_projection_of_phi() -> None:
    facts = world(model="microsoft/phi-4", hardware=card(80))
    assert adapter(settings(lora={"preset": LoraPreset.FAST}), facts).targets.value == ("qkv_proj",)


def test_alpha_follows_a_rank_given_alone() -> None:
    assert adapter(settings(lora={"r": 8}), world()).alpha.value == 16


def test_trainable_parameters_follow_the_true_shapes() -> None:
    # Qwen2.5-7B: q 3584→3584, v 3584→512, 28 layers.
    facts = world(model="Qwen/Qwen2.5-7B-Instruct", hardware=card(24))
    plain = adapter(settings(lora={"preset": LoraPreset.FAST}), facts).num_parameters
    assert plain == 16 * ((3584 + 3584) + (3584 + 512)) * 28
    dora = adapter(settings(lora={"preset": LoraPreset.FAST, "use_dora": True}), facts).num_parameters
    assert dora == plain + (3584 + 512) * 28


def test_an_unknown_target_module_is_refused_with_the_nearest() -> None:
    (problem,) = refused(settings(lora={"target_modules": ("q_prj",)}), world())
    assert problem.code == "CONFIG_INVALID_SETTING"
    assert "q_proj" in problem.hint


@pytest.mark.parametrize(
    ("vram_gib", "batch"), [(80, 8), (48, 8), (46.6, 8), (32, 6), (24, 4), (22.6, 4), (16, 2), (15, 2), (12, 1), (8, 1)]
)
def test_the_batch_follows_the_tier_of_the_card(vram_gib: float, batch: int) -> None:
    assert planned(settings(), world(hardware=card(vram_gib))).batch.micro_batch.value == batch


def test_a_card_of_unknown_memory_takes_two_sequences() -> None:
    assert nominal_tier(None) == 2


def test_four_bit_is_the_default_on_cuda_only() -> None:
    assert planned(settings(), world(hardware=card(16))).precision.load_in_4bit.value
    assert not planned(settings(), world()).precision.load_in_4bit.value


def test_four_bit_without_its_package_is_refused_when_asked_and_left_out_when_not() -> None:
    bare = world(hardware=card(16), packages=INSTALLED)
    assert not planned(settings(), bare).precision.load_in_4bit.value
    assert [p.code for p in refused(settings(model={"load_in_4bit": True}), bare)] == ["DEP_PACKAGE_MISSING"]


@pytest.mark.parametrize(("capability", "compute"), [((7, 5), "float16"), ((8, 0), "bfloat16"), ((12, 0), "bfloat16")])
def test_compute_format_follows_the_capability(capability: tuple[int, int], compute: str) -> None:
    plan = planned(settings(), world(hardware=card(16, capability)))
    assert plan.precision.compute.value is NumberFormat(compute)
    assert sft_arguments(plan, staging_dir="x")["fp16"] is (compute == "float16")


def test_the_cpu_uses_bfloat16_only_where_it_is_native() -> None:
    slow = attrs.evolve(CPU_MACHINE, cpu_has_bf16=False)
    assert load_arguments(planned(settings(), world()))["dtype"] == "bfloat16"
    assert load_arguments(planned(settings(), world(hardware=slow)))["dtype"] == "float32"


def test_float16_on_the_cpu_is_refused() -> None:
    (problem,) = refused(settings(training={"fp16": True}), world())
    assert "underflow" in problem.message


def test_the_optimizer_is_paged_below_24_gb_and_fused_otherwise() -> None:
    def optimizer(vram: float) -> Optimizer:
        return planned(settings(), world(hardware=card(vram))).optimizer.value

    assert optimizer(16) is Optimizer.PAGED_ADAMW_8BIT
    assert optimizer(23.5) is optimizer(80) is Optimizer.ADAMW_TORCH_FUSED
    assert planned(settings(), world()).optimizer.value is Optimizer.ADAMW_TORCH_FUSED


def test_a_forced_cuda_without_a_card_is_an_invalid_setting() -> None:
    (problem,) = refused(settings(training={"backend": Backend.CUDA}), world())
    assert problem.code == "CONFIG_INVALID_SETTING"
    assert "NVML is not installed" in problem.message


def test_a_cpu_run_on_a_machine_with_a_card_is_possible() -> None:
    plan = planned(settings(training={"backend": Backend.CPU}), world(hardware=card(80)))
    assert plan.rail.value is Rail.CPU
    assert sft_arguments(plan, staging_dir="x")["use_cpu"]


def test_epochs_become_steps_of_full_batches() -> None:
    facts = world(data=dataset(tokens(((60, 10),))))
    plan = planned(settings(training={"num_train_epochs": 3.0}, data={"packing": False}), facts)
    assert (plan.length.steps.value, plan.length.epochs) == (8, 3.2)


def test_few_short_rows_are_not_packed_into_one_sequence() -> None:
    plan = planned(settings(), world(data=dataset(tokens(((20, 30),)))))
    assert not plan.batch.packing.value
    assert plan.batch.packing.rule == "too few rows to pack"


def test_packing_on_the_cpu_uses_short_sequences() -> None:
    plan = planned(settings(), world(data=dataset(tokens(((64, 800),)))))
    assert plan.batch.packed_length is not None
    assert plan.batch.packed_length.value == 512
    assert plan.length.sequences == 100


def test_a_row_that_is_longer_than_packed_sequences_stands_alone() -> None:
    plan = planned(settings(), world(data=dataset(tokens(((64, 800), (900, 3))))))
    assert plan.batch.packed_length is not None
    assert plan.batch.packed_length.value == 512
    assert plan.length.sequences == 103


def test_the_sequence_length_is_bounded_by_the_model() -> None:
    facts = world(model="microsoft/Phi-3-mini-4k-instruct")
    wanted = settings(model={"max_seq_length": 8192})
    assert plan_sequence_length(wanted.model, facts.model, origins=Origins()).value == 4096


def test_warm_up_is_at_most_a_tenth_of_the_run() -> None:
    short = settings(training={"max_steps": 30})
    assert planned(short, world()).learning_rate.warmup_steps.value == 3
    assert planned(settings(), world()).learning_rate.warmup_steps.value == 10


def test_settings_without_effect_are_reported() -> None:
    wanted = settings(training={"early_stopping": 3, "warmup_ratio": 0.1, "lr_scheduler_type": Scheduler.CONSTANT})
    plan = planned(wanted, world(), from_flags(training__warmup_ratio="--warmup-ratio"))
    assert sorted(p.where for p in plan.warnings) == ["--early-stopping", "--warmup-ratio"]
    assert sft_arguments(plan, staging_dir="x")["warmup_steps"] == 0


def test_every_problem_is_reported_at_once() -> None:
    wanted = settings(lora={"target_modules": ("nothing",)}, training={"fp16": True})
    data = dataset(
        tokens(unended_targets=RowCount(3, "rows.jsonl:1")),
        broken=(Problem("INPUT_DATASET_PARSE_FAILED", "x"),),
        num_broken=1,
    )
    codes = [p.code for p in refused(wanted, world(data=data))]
    assert sorted(codes) == [
        "CONFIG_INVALID_SETTING",
        "CONFIG_INVALID_SETTING",
        "INPUT_DATASET_PARSE_FAILED",
        "INPUT_TARGETS_UNENDED",
    ]


@pytest.mark.parametrize(
    ("num_broken", "last"), [(3, "row 2"), (4, "And 1 more row that"), (5_000, "And 4,997 more rows")]
)
def test_of_many_broken_rows_three_are_shown_and_the_others_counted(num_broken: int, last: str) -> None:
    shown = tuple(Problem("INPUT_DATASET_PARSE_FAILED", f"row {i}") for i in range(min(num_broken, 20)))
    data = dataset(tokens(), broken=shown, num_broken=num_broken)
    messages = [p.message for p in refused(settings(), world(data=data))]
    assert messages[:3] == ["row 0", "row 1", "row 2"]
    assert messages[-1].startswith(last)
    assert len(messages) == min(num_broken, 4)


def test_absent_model_and_data_are_both_named() -> None:
    gone = (Absent(Problem("INPUT_MODEL_NOT_FOUND", "no model")), Absent(Problem("INPUT_DATASET_NOT_FOUND", "no data")))
    facts = attrs.evolve(world(), model=gone[0], data=gone[1])
    assert [p.code for p in refused(settings(), facts)] == ["INPUT_MODEL_NOT_FOUND", "INPUT_DATASET_NOT_FOUND"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"supervised_tokens": 0}, "INPUT_TARGETS_EMPTY"),
        ({"fully_supervised": RowCount(100)}, "INPUT_TARGETS_EVERYTHING"),
        ({"truncated": RowCount(20)}, "INPUT_TARGETS_TRUNCATED"),
        ({"lost_targets": RowCount(1)}, "INPUT_TARGETS_LOST"),
        ({"unplaced_targets": RowCount(1)}, "INPUT_TARGETS_LOST"),
        ({"unended_targets": RowCount(1)}, "INPUT_TARGETS_UNENDED"),
    ],
)
def test_targets_that_would_train_wrongly_are_refused(changes: dict[str, Any], code: str) -> None:
    (problem,) = refused(settings(), world(data=dataset(tokens(((60, 100),), **changes))))
    assert problem.code == code


@pytest.mark.parametrize(
    ("changes", "allowing"),
    [
        ({"truncated": RowCount(20)}, {"allow_truncation": True}),
        ({"truncated": RowCount(10)}, {}),
        ({"lost_targets": RowCount(1)}, {"allow_lost_targets": True}),
        ({"without_target": RowCount(2)}, {}),
    ],
)
def test_what_the_user_accepts_or_is_rare_is_only_a_warning(changes: dict[str, Any], allowing: dict[str, Any]) -> None:
    plan = planned(settings(data=allowing), world(data=dataset(tokens(**changes))))
    assert len(plan.warnings) == 1


def test_a_truncation_problem_names_a_length_that_would_do() -> None:
    data = dataset(tokens(((60, 100),), truncated=RowCount(20), longest_uncut=9000, uncut_p99=4100))
    (problem,) = refused(settings(), world(data=data))
    assert "--max-seq-length 4100" in problem.hint
    assert "9000" in problem.hint


def test_learning_the_prompts_too_may_be_asked_for() -> None:
    data = dataset(tokens(fully_supervised=RowCount(100)))
    assert planned(settings(data={"train_on_prompt": True}), world(data=data)).warnings == ()


def test_evaluation_happens_ten_times_unless_asked_otherwise() -> None:
    plan = planned(settings(), world(heldout=dataset(tokens(((60, 7),)))))
    assert plan.evaluation is not None
    assert (plan.evaluation.every.value, plan.evaluation.rows) == (10, 7)


def test_arguments_name_the_quantization_of_a_qlora_run() -> None:
    plan = planned(settings(), world(hardware=card(16)))
    quantization = quantization_arguments(plan)
    assert quantization is not None
    assert quantization["bnb_4bit_quant_type"] == "nf4"
    assert quantization_arguments(planned(settings(), world())) is None


def test_a_save_interval_beyond_the_run_stays_as_asked() -> None:
    assert planned(settings(training={"max_steps": 30}), world()).checkpoints.every.value == 100


def test_a_constant_schedule_has_no_warm_up_in_the_plan_that_is_printed() -> None:
    plan = planned(settings(training={"lr_scheduler_type": Scheduler.CONSTANT}), world())
    assert (plan.learning_rate.warmup_steps.value, plan.learning_rate.warmup_steps.rule) == (0, "constant schedule")
    assert sft_arguments(plan, staging_dir="x")["warmup_steps"] == 0


def test_adapters_whose_checkpoints_the_disk_cannot_hold_are_refused() -> None:
    tight = attrs.evolve(card(80), disk_free_bytes=GIB)
    facts = world(model="Qwen/Qwen2.5-7B-Instruct", hardware=tight)
    (problem,) = refused(settings(), facts)
    assert problem.code == "RUNTIME_DISK_FULL"
    # 646 million parameters: two bytes each over a 4-bit base, and two states of two bytes.
    each = planned(settings(), attrs.evolve(facts, hardware=card(80))).checkpoints.num_bytes
    assert each == pytest.approx(6 * 645_922_816, rel=1e-3)


def test_an_output_directory_that_cannot_be_written_refuses_a_dry_run_too() -> None:
    denied = Absent(Problem("INPUT_PATH_UNUSABLE", "/out cannot be written: Permission denied."))
    facts = attrs.evolve(world(), output_absent=denied)
    for dry_run in (True, False):
        assert refused(attrs.evolve(settings(), dry_run=dry_run), facts) == (denied.problem,)


@pytest.mark.parametrize("part", ["model", "data"])
def test_what_the_settings_alone_get_wrong_is_found_without_model_or_data(part: str) -> None:
    gone = Absent(Problem("INPUT_MODEL_NOT_FOUND" if part == "model" else "INPUT_DATASET_NOT_FOUND", "gone"))
    wanted = settings(
        training={
            "fp16": True,
            "early_stopping": 3,
            "warmup_steps": 500,
            "full_ft_offload": True,
            "optim": Optimizer.ADAMW_8BIT,
        }
    )
    facts = world(packages=INSTALLED)
    without = attrs.evolve(facts, model=gone) if part == "model" else attrs.evolve(facts, data=gone)
    problems = refused(wanted, without)
    assert [p.where for p in problems if p.severity is Severity.ERROR and p.code != gone.problem.code] in (
        ["--optim", "training.fp16"],
        ["training.fp16", "--optim"],
    )
    assert [p.where for p in problems if p.severity is Severity.WARNING] == [
        "--full-ft-offload",
        "--warmup-steps",
        "--early-stopping",
    ]


def test_a_model_past_the_ceiling_is_refused_though_the_data_is_absent() -> None:
    gone = Absent(Problem("INPUT_DATASET_NOT_FOUND", "gone"))
    facts = world(model="Qwen/Qwen2.5-7B-Instruct", hardware=card(24))
    problems = refused(settings(training={"mode": TrainMode.FULL}), attrs.evolve(facts, data=gone))
    assert [p.code for p in problems] == ["INPUT_DATASET_NOT_FOUND", "RUNTIME_FULL_FT_MODEL_TOO_LARGE"]


def test_dropout_reaches_the_adapter() -> None:
    assert lora_arguments(adapter(settings(lora={"lora_dropout": 0.3}), world()))["lora_dropout"] == 0.3


def test_free_memory_does_not_change_the_tier() -> None:
    assert nominal_tier(int(22.6 * GIB)) == 4


def test_packages_that_are_missing_stop_a_run_before_anything_is_read_but_not_a_dry_run() -> None:
    facts = world(packages=(("torch", "2.13"),))
    refused = plan_train(TrainSettings(), facts, origins=Origins())
    assert isinstance(refused, Refused)
    assert [p.code for p in refused.problems] == ["DEP_PACKAGE_MISSING"]
    assert "trl" in refused.problems[0].message
    dry = plan_train(attrs.evolve(TrainSettings(), dry_run=True), facts, origins=Origins())
    assert isinstance(dry, TrainPlan)
    assert [p.message for p in dry.warnings if p.code == "DEP_PACKAGE_MISSING"] == [refused.problems[0].message]
    assert fingerprint(dry) == fingerprint(planned(TrainSettings(), world())), "it is the plan of where they are"


def test_held_out_rows_without_a_target_are_refused() -> None:
    nothing = dataset(tokens(supervised_tokens=0), name="/data/heldout.jsonl")
    refused = plan_train(TrainSettings(), world(heldout=nothing), origins=Origins())
    assert isinstance(refused, Refused)
    assert "heldout.jsonl" in refused.problems[0].message


def test_data_that_is_absent_does_not_hide_a_misspelt_layer() -> None:
    absent = Absent(Problem("INPUT_DATASET_NOT_FOUND", "gone"))
    asked = settings(lora={"target_modules": ("q_prj", "v_prj")})
    refused = plan_train(asked, attrs.evolve(world(), data=absent), origins=Origins())
    assert isinstance(refused, Refused)
    assert [p.code for p in refused.problems] == ["INPUT_DATASET_NOT_FOUND", "CONFIG_INVALID_SETTING"]
    assert refused.problems[1].hint == "Did you mean q_proj,v_proj?"


def test_a_held_out_loss_that_is_no_number_is_never_the_best() -> None:
    state = EvaluationState.after([(1, math.nan), (2, 3.0), (3, math.inf)])
    assert (state.best_step, state.since_best) == (2, 1)
