"""Laws of recovery from out of memory: updates never change, passes only shrink, and it comes to an end."""

from __future__ import annotations

import itertools

import attrs
from hypothesis import given
from hypothesis import strategies as st

from backprop.effects.train.sequences import PlannedOrder
from backprop.plan.events import Pass, Recovered
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.arguments import sft_arguments
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.oom_recovery import (
    MOST_RECOVERIES,
    GiveUp,
    OutOfMemory,
    RecoveryState,
    after,
    begin,
    recover,
    with_recovery,
)
from backprop.plan.training.plan import TrainPlan
from backprop.plan.wire.converter import from_data, to_data
from property_tests.strategies.training import train_facts, train_settings
from property_tests.test_train_plan import planned

SIZES = st.tuples(st.integers(1, 64), st.integers(1, 32))
TROUBLE = st.lists(st.builds(OutOfMemory, st.sampled_from(Pass), st.integers(0, 99)), max_size=8)


@given(SIZES, TROUBLE)
def test_every_update_keeps_its_sequences_while_passes_shrink(
    sizes: tuple[int, int], trouble: list[OutOfMemory]
) -> None:
    micro_batch, accumulation = sizes
    state = RecoveryState(effective=micro_batch * accumulation, micro_batch=micro_batch, heldout_batch=micro_batch)
    for event in trouble:
        before = state
        state, (command,) = recover(state, event)
        assert state.effective == micro_batch * accumulation
        assert (state.accumulation - 1) * state.micro_batch < state.effective <= state.accumulation * state.micro_batch
        if isinstance(command, GiveUp):
            assert state == before
            size = before.micro_batch if event.during is Pass.TRAINING else before.heldout_batch
            assert before.num_recoveries == MOST_RECOVERIES or size == 1
            continue
        assert state.num_recoveries == before.num_recoveries + 1 <= MOST_RECOVERIES
        assert 1 <= state.heldout_batch <= before.heldout_batch
        if event.during is Pass.TRAINING:
            assert 2 * state.micro_batch <= before.micro_batch
            assert state.heldout_batch <= state.micro_batch
        else:
            assert state.micro_batch == before.micro_batch
            assert state.heldout_batch < before.heldout_batch


@given(train_settings(), train_facts(), TROUBLE)
def test_a_killed_run_finds_its_state_in_the_events_that_survive(
    settings: TrainSettings, facts: TrainFacts, trouble: list[OutOfMemory]
) -> None:
    plan = planned(settings, facts)
    state, told = begin(plan), []
    for event in trouble:
        state, (command,) = recover(state, event)
        if not isinstance(command, GiveUp):
            told.append(from_data(to_data(command.told), Recovered))
        assert after(plan, told) == state


@given(train_settings(), train_facts(), TROUBLE)
def test_a_recovered_plan_differs_in_the_sizes_of_its_passes_alone(
    settings: TrainSettings, facts: TrainFacts, trouble: list[OutOfMemory]
) -> None:
    plan = planned(settings, facts)
    state = begin(plan)
    for event in trouble:
        state, _ = recover(state, event)
    smaller = with_recovery(plan, state)
    one, two = (sft_arguments(p, staging_dir="/tmp/x") for p in (plan, smaller))
    sizes = ("per_device_train_batch_size", "gradient_accumulation_steps")
    assert {k: v for k, v in one.items() if k not in sizes} == {k: v for k, v in two.items() if k not in sizes}
    assert (two[sizes[1]] - 1) * two[sizes[0]] < plan.batch.effective <= two[sizes[0]] * two[sizes[1]]


@given(train_settings(), train_facts(), TROUBLE, st.integers(1, 4))
def test_smaller_passes_bring_the_same_sequences_to_each_update(
    settings: TrainSettings, facts: TrainFacts, trouble: list[OutOfMemory], steps: int
) -> None:
    plan = planned(settings, facts)
    length = attrs.evolve(plan.length, steps=attrs.evolve(plan.length.steps, value=steps))
    plan = attrs.evolve(plan, length=length)
    state = begin(plan)
    for event in trouble:
        state, _ = recover(state, event)
    assert updates(with_recovery(plan, state)) == updates(plan)


def updates(plan: TrainPlan) -> list[list[int]]:
    """The sequences of each update, as the trainer's batch sampler hands them out in so many passes."""
    passes = list(PlannedOrder(plan, plan.length.sequences))
    assert all(len(one) <= plan.batch.micro_batch.value for one in passes)
    count = plan.batch.accumulation.value
    return [list(itertools.chain(*passes[start : start + count])) for start in range(0, len(passes), count)]
