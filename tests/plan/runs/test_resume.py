from __future__ import annotations

from typing import Any

import attrs

from backprop.plan.decision import Problem, Refused, Severity
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.processes import Processes
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.runs.checkpoint import CheckpointManifest
from backprop.plan.runs.resume import ResumePlan, plan_resume
from backprop.plan.settings.training import Optimizer
from backprop.plan.settings.verbs.runs import RunStatus
from tests.plan.runs.examples import FACTS, a_record
from tests.plan.training.worlds import (
    APPLE_MACHINE,
    INSTALLED,
    MLX_INSTALLED,
    card,
    from_flags,
    planned,
    settings,
    world,
)

FAILED = a_record(run_status=RunStatus.FAILED, num_steps=100)
COMPLETED = a_record(run_status=RunStatus.COMPLETED, num_steps=100)


def checkpoint(step: int) -> CheckpointManifest:
    return CheckpointManifest(
        step=step, sequences_seen=step * 4, plan_fingerprint="p", data_fingerprint="d" * 64, files=()
    )


def resume(record: Any, found: CheckpointManifest | None, **changes: Any) -> ResumePlan | Refused:
    now: dict[str, Any] = {
        "run_dir": "out/runs/x",
        "model_fingerprint": "m" * 16,
        "data_fingerprint": "d" * 64,
        "hardware": FACTS.hardware,
        "software": FACTS.software,
    }
    return plan_resume(record, found, **(now | changes))


def refusal(answer: ResumePlan | Refused) -> Problem:
    assert isinstance(answer, Refused)
    return answer.problems[0]


def test_a_failed_run_goes_on_from_its_checkpoint_to_its_planned_end() -> None:
    assert resume(FAILED, checkpoint(40)) == ResumePlan(
        run_id=FAILED.run_id, from_step=40, num_steps=100, sequences_seen=160, plan=FAILED.plan
    )


def test_steps_move_the_end() -> None:
    answer = resume(FAILED, checkpoint(40), steps=60)
    assert isinstance(answer, ResumePlan)
    assert answer.num_steps == answer.plan.length.steps.value == 60


def test_a_run_killed_after_its_last_checkpoint_has_only_its_adapter_left_to_write() -> None:
    answer = resume(FAILED, checkpoint(100))
    assert isinstance(answer, ResumePlan)
    assert answer.from_step == answer.num_steps == 100


def test_a_complete_run_is_extended_only_by_steps() -> None:
    refused = refusal(resume(COMPLETED, checkpoint(100)))
    assert refused.code == "INPUT_RESUME_NOT_FOUND"
    assert "--steps 200" in refused.hint
    extended = resume(COMPLETED, checkpoint(100), steps=150)
    assert isinstance(extended, ResumePlan)
    assert (extended.from_step, extended.num_steps) == (100, 150)


def test_steps_that_are_already_done_are_refused_with_the_number_done() -> None:
    refused = refusal(resume(COMPLETED, checkpoint(100), steps=100))
    assert refused.code == "CONFIG_INVALID_SETTING"
    assert "100 steps" in refused.message


def test_a_run_that_stopped_before_its_first_checkpoint_begins_again_and_says_so() -> None:
    answer = resume(FAILED, None)
    assert isinstance(answer, ResumePlan)
    assert (answer.from_step, answer.num_steps, answer.sequences_seen) == (0, 100, 0)
    assert "out/runs/x" in answer.warnings[0].message
    assert answer.warnings[0].severity is Severity.WARNING


def test_a_complete_run_whose_checkpoints_are_gone_is_not_extended_saying_where_they_were_looked_for() -> None:
    refused = refusal(resume(COMPLETED, None, steps=200))
    assert refused.code == "INPUT_RESUME_NOT_FOUND"
    assert "out/runs/x/checkpoint-N" in refused.message


def test_a_run_that_is_running_is_left_alone() -> None:
    assert refusal(resume(a_record(), checkpoint(5))).code == "STATE_RUN_ACTIVE"


def test_changed_inputs_are_refused_each_by_name() -> None:
    answer = resume(FAILED, checkpoint(40), model_fingerprint="other", data_fingerprint="other")
    assert isinstance(answer, Refused)
    assert [p.code for p in answer.problems] == ["STATE_INPUTS_CHANGED"] * 2
    assert [p.where for p in answer.problems] == [FAILED.model, FAILED.data]


def test_a_run_of_a_card_is_not_resumed_where_there_is_none() -> None:
    stopped = a_record(run_status=RunStatus.FAILED, plan=planned(settings(), world(hardware=card(24))))
    assert refusal(resume(stopped, checkpoint(5))).code == "DEP_GPU_NOT_AVAILABLE"
    assert isinstance(resume(stopped, checkpoint(5), hardware=card(24), software=world().software), ResumePlan)


def test_what_executing_takes_must_be_installed() -> None:
    bare = SoftwareFacts(python="3.11", packages=())
    refused = refusal(resume(FAILED, checkpoint(40), software=bare))
    assert refused.code == "DEP_PACKAGE_MISSING"
    assert "torch" in refused.hint


def test_a_resumed_run_needs_the_package_of_its_optimizer_too() -> None:
    asked = settings(model={"load_in_4bit": False})
    plan = planned(asked, world(hardware=card(16)), from_flags(model__load_in_4bit="--no-load-in-4bit"))
    assert plan.optimizer.value is Optimizer.PAGED_ADAMW_8BIT
    stopped = a_record(run_status=RunStatus.FAILED, plan=plan)
    without = SoftwareFacts(python="3.11", packages=INSTALLED)
    refused = refusal(resume(stopped, checkpoint(5), hardware=card(16), software=without))
    assert refused.code == "DEP_PACKAGE_MISSING"
    assert "bitsandbytes" in refused.hint


def test_a_card_that_is_too_small_refuses_a_run_whose_passes_cannot_be_smaller() -> None:
    plan = planned(settings(training={"per_device_train_batch_size": 1}), world(hardware=card(16)))
    stopped = a_record(run_status=RunStatus.FAILED, plan=plan)
    refused = refusal(resume(stopped, checkpoint(5), hardware=card(1), software=world().software))
    assert refused.code == "RUNTIME_MEMORY_INSUFFICIENT"
    assert "1.0 GiB" in refused.message
    assert isinstance(resume(stopped, checkpoint(5), hardware=card(16), software=world().software), ResumePlan)


def test_a_card_that_is_too_small_is_a_warning_where_smaller_passes_may_do() -> None:
    plan = planned(settings(training={"per_device_train_batch_size": 4}), world(hardware=card(16)))
    stopped = a_record(run_status=RunStatus.FAILED, plan=plan)
    answer = resume(stopped, checkpoint(5), hardware=card(1), software=world().software)
    assert isinstance(answer, ResumePlan)
    assert [p.code for p in answer.warnings] == ["RUNTIME_MEMORY_INSUFFICIENT"]


def test_a_full_disk_refuses_the_rest_of_a_run_and_counts_what_stands_there_already() -> None:
    each = FAILED.plan.checkpoints.num_bytes
    assert each is not None
    endless = resume(COMPLETED, checkpoint(100), steps=1000, hardware=with_disk(3 * each), num_checkpoints=1)
    assert isinstance(endless, ResumePlan)
    assert isinstance(
        resume(COMPLETED, checkpoint(100), steps=1000, hardware=with_disk(2 * each), num_checkpoints=1), ResumePlan
    )
    tight = resume(COMPLETED, checkpoint(100), steps=1000, hardware=with_disk(2 * each - 1), num_checkpoints=1)
    assert refusal(tight).code == "RUNTIME_DISK_FULL"


def with_disk(free: int) -> HardwareFacts:
    return attrs.evolve(FACTS.hardware, disk_free_bytes=free)


def test_a_run_goes_on_with_as_many_processes_as_it_was_planned_for() -> None:
    problem = refusal(resume(FAILED, checkpoint(40), processes=Processes(2, local_count=2)))
    assert (problem.code, problem.where) == ("CONFIG_INVALID_SETTING", "WORLD_SIZE")
    assert "without a launcher" in problem.hint


def test_a_run_of_the_mlx_rail_goes_on_where_mlx_is() -> None:
    mac = world(hardware=APPLE_MACHINE, packages=MLX_INSTALLED)
    record = a_record(run_status=RunStatus.FAILED, num_steps=100, plan=planned(settings(), mac))
    elsewhere = refusal(resume(record, checkpoint(40)))
    assert (elsewhere.code, "Apple silicon" in elsewhere.message) == ("CONFIG_INVALID_SETTING", True)
    without = SoftwareFacts(python="3.12", packages=())
    lacking = refusal(resume(record, checkpoint(40), hardware=APPLE_MACHINE, software=without))
    assert lacking.code == "DEP_MLX_UNAVAILABLE"
    assert isinstance(resume(record, checkpoint(40), hardware=APPLE_MACHINE, software=mac.software), ResumePlan)
