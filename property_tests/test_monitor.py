"""Laws of the card monitor, over generated series of readings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backprop.plan.training.monitor import (
    POLICY,
    Abort,
    Command,
    MonitorState,
    NoReading,
    Pause,
    Reading,
    Resume,
    Warn,
    Watch,
    observe,
)

TOTAL = 24 * 2**30
GOOD = st.builds(Reading, st.just(0.0), st.integers(20, 100), st.integers(0, TOTAL), st.sampled_from((TOTAL, TOTAL, 0)))
LOST = st.builds(NoReading, st.just(0.0), st.just("gone"))
HOT = st.builds(Reading, st.just(0.0), st.integers(78, 94), st.just(0), st.just(TOTAL))
SERIES = st.lists(st.one_of(GOOD, HOT, HOT, LOST), max_size=60)


def walk(
    series: list[Reading | NoReading],
) -> list[tuple[MonitorState, Reading | NoReading, MonitorState, tuple[Command, ...]]]:
    """(state before, reading, state after, commands) of each reading."""
    state, steps = MonitorState(), []
    for reading in series:
        after, commands = observe(state, reading)
        steps.append((state, reading, after, commands))
        state = after
    return steps


@given(SERIES)
def test_pauses_and_resumes_alternate_and_say_where_the_state_goes(series: list[Reading | NoReading]) -> None:
    paused = False
    for before, _, after, commands in walk(series):
        assert (before.watch is Watch.PAUSED) == paused
        for command in commands:
            if isinstance(command, Pause):
                assert not paused
                paused = True
            elif isinstance(command, Resume):
                assert paused
                paused = False
            elif isinstance(command, Abort):
                paused = False
        assert (after.watch is Watch.PAUSED) == paused


@given(SERIES)
def test_training_never_goes_on_above_the_resume_threshold(series: list[Reading | NoReading]) -> None:
    for _, reading, _, commands in walk(series):
        for command in commands:
            if isinstance(command, Resume) and command.celsius is not None:
                assert isinstance(reading, Reading)
                assert command.celsius == reading.celsius <= POLICY.resume_celsius
            elif isinstance(command, Resume):
                assert isinstance(reading, NoReading)


@given(SERIES)
def test_a_hot_card_never_trains(series: list[Reading | NoReading]) -> None:
    for _, reading, after, _ in walk(series):
        if isinstance(reading, Reading) and reading.celsius >= POLICY.pause_celsius:
            assert after.watch is not Watch.TRAINING


@given(SERIES)
def test_an_abort_comes_at_the_first_critical_reading_and_is_the_last_command(
    series: list[Reading | NoReading],
) -> None:
    steps = walk(series)
    all_commands = [c for _, _, _, commands in steps for c in commands]
    aborts = [i for i, c in enumerate(all_commands) if isinstance(c, Abort)]
    assert aborts in ([], [len(all_commands) - 1])
    for before, reading, after, commands in steps:
        critical = isinstance(reading, Reading) and reading.celsius >= POLICY.abort_celsius
        if critical and before.watch is not Watch.ENDED:
            assert isinstance(commands[-1], Abort)
            assert after.watch is Watch.ENDED


@given(SERIES)
def test_each_warning_is_given_once_and_failures_alone_never_abort(series: list[Reading | NoReading]) -> None:
    commands = [c for _, _, _, told in walk(series) for c in told]
    codes = [c.problem.code for c in commands if isinstance(c, Warn)]
    assert len(codes) == len(set(codes))
    only_failures = [c for _, _, _, told in walk([r for r in series if isinstance(r, NoReading)]) for c in told]
    assert all(isinstance(c, Warn) for c in only_failures)
