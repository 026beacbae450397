"""A hot card pauses the run, a critical one ends it, a full one is told of, an unreadable one stops nothing."""

from __future__ import annotations

from backprop.plan.exit_code import exit_code_for
from backprop.plan.training.monitor import (
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


def at(celsius: int, *, seconds: float = 0.0, used: int = 50) -> Reading:
    return Reading(seconds, celsius, used, 100)


def commands(*readings: Reading | NoReading) -> list[Command]:
    """All that a series of readings leads to."""
    state = MonitorState()
    told: list[Command] = []
    for reading in readings:
        state, now = observe(state, reading)
        told += now
    return told


def test_a_card_below_ninety_degrees_is_left_alone() -> None:
    assert commands(at(30), at(89), at(89)) == []


def test_at_ninety_degrees_it_pauses_and_at_eighty_it_goes_on() -> None:
    readings = (at(90, seconds=5), at(94, seconds=6), at(81, seconds=30), at(80, seconds=65), at(85, seconds=70))
    assert commands(*readings) == [Pause(90), Resume(80, 60.0)]


def test_at_ninety_five_degrees_it_ends_whether_it_pauses_or_not() -> None:
    for readings in ((at(95),), (at(91), at(99)), (at(95), at(96), at(20))):
        told = commands(*readings)
        assert isinstance(told[-1], Abort)
        assert told[-1].problem.code == "RUNTIME_GPU_TEMPERATURE_CRITICAL"
        assert exit_code_for([told[-1].problem]) == 2
        assert sum(isinstance(command, Abort) for command in told) == 1


def test_a_full_card_is_told_of_once() -> None:
    told = commands(at(50, used=96), at(50, used=97), at(50, used=99), at(50, used=20), at(50, used=98))
    assert [c.problem.code for c in told if isinstance(c, Warn)] == ["RUNTIME_GPU_MEMORY_LOW"]
    assert len(told) == 1
    assert "97%" in told[0].problem.message  # type: ignore[union-attr]


def test_a_card_that_does_not_say_how_much_memory_it_has_is_not_full() -> None:
    assert commands(Reading(0.0, 50, 0, 0)) == []


def test_readings_that_keep_failing_end_the_monitor_with_one_warning() -> None:
    lost = NoReading(0.0, "The driver is gone.")
    assert commands(lost, lost, at(50), lost, lost) == []
    told = commands(lost, lost, lost, lost, at(99))
    assert len(told) == 1
    assert isinstance(told[0], Warn)
    assert told[0].problem.code == "RUNTIME_GPU_MONITORING_FAILED"
    assert "The driver is gone." in told[0].problem.message


def test_a_pause_that_nothing_can_end_any_more_ends() -> None:
    lost = NoReading(40.0, "The driver is gone.")
    assert commands(at(91, seconds=10), lost, lost, lost)[-1] == Resume(None, 30.0)


def test_an_ended_monitor_keeps_its_state() -> None:
    ended = MonitorState(watch=Watch.ENDED)
    assert observe(ended, at(99)) == (ended, ())
