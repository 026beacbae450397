"""Smaller passes, the same updates, at most three times."""

from __future__ import annotations

import pytest

from backprop.plan.errors import hint_for
from backprop.plan.events import Pass
from backprop.plan.training.oom_recovery import (
    GiveUp,
    GoOn,
    OutOfMemory,
    RecoveryState,
    after,
    begin,
    exhausted,
    recover,
    with_recovery,
)
from tests.plan.training.worlds import planned, settings, world

IN_TRAINING = OutOfMemory(Pass.TRAINING, step=12)
IN_EVALUATION = OutOfMemory(Pass.EVALUATION, step=12)


@pytest.mark.parametrize(("micro_batch", "half", "passes"), [(8, 4, 4), (2, 1, 16), (6, 3, 6), (5, 2, 8), (3, 1, 16)])
def test_passes_are_halved_and_as_many_more_as_the_update_takes(micro_batch: int, half: int, passes: int) -> None:
    state, _ = recover(RecoveryState(effective=16, micro_batch=micro_batch, heldout_batch=1), IN_TRAINING)
    assert (state.micro_batch, state.accumulation, state.effective) == (half, passes, 16)


def test_training_that_does_not_fit_makes_evaluations_smaller_too() -> None:
    state, (command,) = recover(RecoveryState(effective=16, micro_batch=8, heldout_batch=8), IN_TRAINING)
    assert state == RecoveryState(effective=16, micro_batch=4, heldout_batch=4, num_recoveries=1)
    assert isinstance(command, GoOn)
    assert (command.told.step, command.told.number, command.told.accumulation) == (12, 1, 4)


def test_an_evaluation_that_does_not_fit_leaves_training_alone() -> None:
    state, _ = recover(RecoveryState(effective=16, micro_batch=8, heldout_batch=5), IN_EVALUATION)
    assert state == RecoveryState(effective=16, micro_batch=8, heldout_batch=2, num_recoveries=1)


@pytest.mark.parametrize("event", [IN_TRAINING, IN_EVALUATION])
@pytest.mark.parametrize(
    ("state", "why"),
    [
        (RecoveryState(effective=8, micro_batch=1, heldout_batch=1), "nothing left to halve"),
        (RecoveryState(effective=64, micro_batch=8, heldout_batch=8, num_recoveries=3), "recovered 3 times"),
    ],
)
def test_it_gives_up_when_nothing_is_left_to_halve_and_after_three_times(
    event: OutOfMemory, state: RecoveryState, why: str
) -> None:
    after_it, (command,) = recover(state, event)
    assert after_it == state
    assert isinstance(command, GiveUp)
    assert why in command.why


def test_the_state_is_found_again_from_what_was_told() -> None:
    plan = planned(settings(training={"per_device_train_batch_size": 8}), world())
    state = begin(plan)
    told = []
    for event in (IN_TRAINING, IN_EVALUATION, IN_TRAINING):
        state, (command,) = recover(state, event)
        assert isinstance(command, GoOn)
        told.append(command.told)
    assert after(plan, told) == state


def test_the_plan_in_recovery_says_why_its_batch_is_not_the_planned_one() -> None:
    plan = planned(settings(training={"per_device_train_batch_size": 8}), world())
    assert with_recovery(plan, begin(plan)) is plan
    smaller = with_recovery(plan, recover(begin(plan), IN_TRAINING)[0])
    assert (smaller.batch.micro_batch.value, smaller.batch.accumulation.value) == (4, 8)
    assert smaller.batch.effective == plan.batch.effective
    assert smaller.batch.micro_batch.rule == "out of memory"
    assert "with 8 sequences in a pass" in smaller.batch.micro_batch.why


def test_giving_up_proposes_no_size_that_nobody_has_tried() -> None:
    problem = exhausted(IN_TRAINING, GiveUp("It does not fit."))
    assert problem.message == "Memory ran out in training after step 12. It does not fit."
    assert not any(letter.isdigit() for letter in hint_for(problem))
    assert "estimate-vram" in hint_for(problem)
