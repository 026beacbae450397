from __future__ import annotations

import attrs

from backprop.plan.decision import Problem
from backprop.plan.events import Evaluated
from backprop.plan.runs.course import (
    evaluations_so_far,
    interrupted,
    is_over,
    resume_command,
    step_to_hand_over,
    with_resume_hint,
)
from backprop.plan.runs.event_log import RecordedEvent
from tests.plan.runs.examples import PLAN
from tests.plan.training.worlds import dataset, planned, settings, world

PATIENT = planned(settings(training={"early_stopping": 2}), world(heldout=dataset()))


def evaluated(*losses: float) -> list[RecordedEvent]:
    return [RecordedEvent("now", Evaluated(i, loss, 10, is_best=False)) for i, loss in enumerate(losses, start=1)]


def test_a_run_is_over_at_its_last_step_or_when_its_patience_is() -> None:
    assert is_over(PLAN, PLAN.length.steps.value, evaluations_so_far(()))
    assert not is_over(PATIENT, 3, evaluations_so_far(evaluated(2.0, 2.1)))
    assert is_over(PATIENT, 3, evaluations_so_far(evaluated(2.0, 2.1, 2.2)))


def test_more_steps_mean_more_patience() -> None:
    assert not is_over(PATIENT, 3, evaluations_so_far(evaluated(2.0, 2.1, 2.2), extended=True))


def test_the_best_step_is_handed_over_else_the_last() -> None:
    assert step_to_hand_over(evaluations_so_far(evaluated(2.0, 1.0, 3.0)), steps_done=9) == 2
    assert step_to_hand_over(evaluations_so_far(()), steps_done=9) == 9


def test_the_command_to_go_on_names_the_output_only_when_it_must() -> None:
    assert resume_command("r1", output_dir="./output") == "backprop resume r1"
    assert resume_command("r1", output_dir="my runs") == "backprop resume r1 --output 'my runs'"
    elsewhere = interrupted("r1", plan=attrs.evolve(PLAN, output_dir="out"), step=3, run_dir="out/runs/r1")
    assert "3 of 100 steps are saved" in elsewhere.message
    assert "backprop resume r1 --output out" in elsewhere.hint


def test_only_what_may_go_better_next_time_is_told_how_to_go_on() -> None:
    full = with_resume_hint(Problem("RUNTIME_DISK_FULL", "Full."), "r1", output_dir="./output")
    assert full.hint == "Free some space. Then continue with `backprop resume r1`."
    diverged = Problem("RUNTIME_TRAINING_DIVERGED", "nan")
    assert with_resume_hint(diverged, "r1", output_dir="./output") == diverged
