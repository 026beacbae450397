"""What a run does when its card gets hot or full: a judgement over readings, one after the other."""

from __future__ import annotations

import enum
from typing import TypeAlias

import attrs

from backprop.plan.decision import Problem, warning


@attrs.frozen
class Policy:
    """When to act."""

    pause_celsius: int = 90
    resume_celsius: int = 80
    """Well below the pause: a card that goes on a degree below it is as hot again after a step or two."""
    abort_celsius: int = 95
    memory_share: float = 0.97
    failures: int = 3
    """Readings that fail in a row before the monitor gives up; a single one is a hiccup of the driver."""


@attrs.frozen
class Reading:
    """The card at a moment of a clock that only goes forward. ``total_bytes`` is 0 when the card does not say."""

    at_seconds: float
    celsius: int
    used_bytes: int
    total_bytes: int


@attrs.frozen
class NoReading:
    """The card could not be read, and why."""

    at_seconds: float
    reason: str


class Watch(enum.Enum):
    """What the monitor is doing."""

    TRAINING = "training"
    PAUSED = "paused"
    ENDED = "ended"


@attrs.frozen
class MonitorState:
    """What the readings so far have led to."""

    watch: Watch = Watch.TRAINING
    paused_at: float = 0.0
    failures: int = 0
    """Failed readings since the last good one."""
    has_warned_of_memory: bool = False


@attrs.frozen
class Pause:
    """Command: wait before the next step, and read on."""

    celsius: int


@attrs.frozen
class Resume:
    """Command: go on. ``celsius`` is None when the temperature can no longer be read."""

    celsius: int | None
    paused_seconds: float


@attrs.frozen
class Abort:
    """Command: save, and end the run with this problem."""

    problem: Problem


@attrs.frozen
class Warn:
    """Command: tell this; the run is not touched."""

    problem: Problem


Command: TypeAlias = Pause | Resume | Abort | Warn
_Next: TypeAlias = tuple[MonitorState, tuple[Command, ...]]

POLICY = Policy()


def observe(state: MonitorState, reading: Reading | NoReading, *, policy: Policy = POLICY) -> _Next:
    """The reducer: the state after one more reading, and what to do now, in order."""
    if state.watch is Watch.ENDED:
        return state, ()
    if isinstance(reading, NoReading):
        return _after_failure(state, reading, policy)
    state, warnings = _after_memory(attrs.evolve(state, failures=0), reading, policy)
    state, commands = _after_temperature(state, reading, policy)
    return state, (*warnings, *commands)


def _after_temperature(state: MonitorState, reading: Reading, policy: Policy) -> _Next:
    celsius, is_paused = reading.celsius, state.watch is Watch.PAUSED
    if celsius >= policy.abort_celsius:
        return attrs.evolve(state, watch=Watch.ENDED), (Abort(_critical(celsius, policy)),)
    if not is_paused and celsius >= policy.pause_celsius:
        return attrs.evolve(state, watch=Watch.PAUSED, paused_at=reading.at_seconds), (Pause(celsius),)
    if is_paused and celsius <= policy.resume_celsius:
        return attrs.evolve(state, watch=Watch.TRAINING), (Resume(celsius, reading.at_seconds - state.paused_at),)
    return state, ()


def _after_memory(state: MonitorState, reading: Reading, policy: Policy) -> _Next:
    is_full = reading.total_bytes > 0 and reading.used_bytes >= policy.memory_share * reading.total_bytes
    if state.has_warned_of_memory or not is_full:
        return state, ()
    share = reading.used_bytes / reading.total_bytes
    message = f"{share:.0%} of the card's memory is in use."
    return attrs.evolve(state, has_warned_of_memory=True), (Warn(warning("RUNTIME_GPU_MEMORY_LOW", message)),)


def _after_failure(state: MonitorState, reading: NoReading, policy: Policy) -> _Next:
    failures = state.failures + 1
    if failures < policy.failures:
        return attrs.evolve(state, failures=failures), ()
    message = f"The card could not be read {failures} times in a row: {reading.reason}"
    warned = Warn(warning("RUNTIME_GPU_MONITORING_FAILED", message))
    # A pause that nothing could end would stop the run, which a failed monitor must not; the card's own protection
    # is left.
    going_on = (Resume(None, reading.at_seconds - state.paused_at),) if state.watch is Watch.PAUSED else ()
    return attrs.evolve(state, watch=Watch.ENDED, failures=failures), (warned, *going_on)


def _critical(celsius: int, policy: Policy) -> Problem:
    return Problem(
        "RUNTIME_GPU_TEMPERATURE_CRITICAL",
        f"The card has {celsius} °C; at {policy.abort_celsius} °C the run is saved and ended.",
    )
