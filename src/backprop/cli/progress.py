"""What a run tells, as plain lines for a pipe or as one JSON object a line; the bar of a terminal lives elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from backprop.plan.quantity import counted, gib
from backprop.plan.redaction import redact, redact_data
from backprop.plan.wire.plain import plain_data

if TYPE_CHECKING:
    from backprop.plan.events import Event


def duration(seconds: float | None) -> str:
    """``1:02:03`` or ``2:03``; "?" when it is not known."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _started(e: Any) -> str:
    since = f", going on after step {e.from_step}" if e.from_step else ""
    return f"run {e.run_id}: {counted(e.num_steps, 'step')}{since}"


def _step(e: Any) -> str:
    return (
        f"step {e.step}/{e.num_steps}  loss {e.loss:.4f}{_rewards(e.rewards)}  lr {e.learning_rate:.2e}  "
        f"{e.tokens_per_second:.0f} tokens/s  ETA {duration(e.eta_seconds)}"
    )


def _evaluated(e: Any) -> str:
    best = "  (best so far)" if e.is_best else ""
    return f"step {e.step}  held-out loss {e.loss:.4f}{_rewards(e.rewards)}{best}"


def _rewards(rewards: Any) -> str:
    if rewards is None:
        return ""
    margin = "" if rewards.margin is None else f"  margin {rewards.margin:+.4f}"
    return f"{margin}  right {rewards.accuracy:.0%}"


def _recovered(e: Any) -> str:
    if e.during.value == "evaluation":
        at_once = counted(e.heldout_batch, "sequence")
        return f"out of memory in the evaluation of step {e.step}: measuring {at_once} at once"
    return (
        f"out of memory after step {e.step}: going on with {counted(e.micro_batch, 'sequence')} in a pass, "
        f"{e.accumulation} passes a step"
    )


def _memory_checked(e: Any) -> str:
    if e.measured_bytes is None:
        return f"memory of the longest batch: {e.note}"
    planned = "" if e.planned_bytes is None else f", {gib(e.planned_bytes)} planned"
    return (
        f"memory of the longest batch ({e.note}): {gib(e.measured_bytes)} measured{planned}, "
        f"{gib(e.reserved_bytes)} reserved"
    )


def _resumed(e: Any) -> str:
    now = "" if e.celsius is None else f" at {e.celsius} °C"
    return f"going on{now} after a pause of {duration(e.paused_seconds)}"


def _finished(e: Any) -> str:
    return f"finished after {counted(e.step, 'step')} in {duration(e.train_seconds)}: {e.adapter or e.full_model}"


LINES: dict[str, Callable[[Any], str]] = {
    "Started": _started,
    "Stage": lambda e: str(e.name),
    "Step": _step,
    "Evaluated": _evaluated,
    "CheckpointSaved": lambda e: f"checkpoint of step {e.step} saved",
    "CheckpointRemoved": lambda e: f"checkpoint of step {e.step} removed",
    "StoppedEarly": lambda e: f"stopped at step {e.step}: no better held-out loss since step {e.best_step}",
    "Recovered": _recovered,
    "MemoryChecked": _memory_checked,
    "Paused": lambda e: f"paused after step {e.step}: the card has {e.celsius} °C",
    "Resumed": _resumed,
    "Warned": lambda e: f"warning: [{e.code}] {e.message}",
    "Finished": _finished,
}
"""By the name of the event's class, so that a command without events does not load their classes.

The plan goes to stdout; how a run failed is told once, by the outcome; a line for every progress would be a flood.
"""


def line_of(event: Event) -> str | None:
    """The line that tells an event to a person, or None."""
    write = LINES.get(type(event).__name__)
    return redact(write(event)) if write else None


class PlainProgress:
    """A line on ``stream`` for each event worth one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Tell one event."""
        line = line_of(event)
        if line is not None:
            print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is left open."""


class JsonProgress:
    """Each event as one JSON object on a line of ``stream``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        """Tell one event; the plan is too long for a line, its place is the run's record."""
        if type(event).__name__ != "Planned":
            print(json.dumps(redact_data(plain_data(event)), ensure_ascii=False), file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is left open."""
