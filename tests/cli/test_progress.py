"""What a run tells, line by line."""

from __future__ import annotations

import io
import json

import pytest

from backprop.cli.progress import LINES, JsonProgress, PlainProgress, duration, line_of
from backprop.plan import events
from backprop.plan.events import Event

STEP = events.Step(10, 100, 0.5, 1.23456, 2e-4, None, 1234.5, 61.4)
SECRET = "hf_abcdefghijklmnop"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (events.Started("r1", 100), "run r1: 100 steps"),
        (events.Started("r1", 100, 40), "run r1: 100 steps, going on after step 40"),
        (events.Stage("loading the model"), "loading the model"),
        (STEP, "step 10/100  loss 1.2346  lr 2.00e-04  1234 tokens/s  ETA 1:01"),
        (events.Evaluated(10, 1.5, 99, is_best=True), "step 10  held-out loss 1.5000  (best so far)"),
        (events.Evaluated(10, 1.5, 99, is_best=False), "step 10  held-out loss 1.5000"),
        (events.CheckpointSaved(10, "p"), "checkpoint of step 10 saved"),
        (events.CheckpointRemoved(10, "p"), "checkpoint of step 10 removed"),
        (events.StoppedEarly(30, 10), "stopped at step 30: no better held-out loss since step 10"),
        (
            events.Recovered(12, 1, events.Pass.TRAINING, 2, 8, 2),
            "out of memory after step 12: going on with 2 sequences in a pass, 8 passes a step",
        ),
        (
            events.Recovered(12, 2, events.Pass.EVALUATION, 4, 4, 1),
            "out of memory in the evaluation of step 12: measuring 1 sequence at once",
        ),
        (
            events.MemoryChecked(3 * 2**30, 2**31, 2**31 + 2**29, "4 × 512 tokens"),
            "memory of the longest batch (4 × 512 tokens): 2.0 GiB measured, 3.0 GiB planned, 2.5 GiB reserved",
        ),
        (
            events.MemoryChecked(None, 2**31, 2**31, "4 × 512 tokens"),
            "memory of the longest batch (4 × 512 tokens): 2.0 GiB measured, 2.0 GiB reserved",
        ),
        (events.MemoryChecked(2**31, None, None, "not measured"), "memory of the longest batch: not measured"),
        (events.Paused(7, 91), "paused after step 7: the card has 91 °C"),
        (events.Resumed(7, 79, 65.0), "going on at 79 °C after a pause of 1:05"),
        (events.Resumed(7, None, 65.0), "going on after a pause of 1:05"),
        (events.Warned(7, "RUNTIME_GPU_MEMORY_LOW", "Full."), "warning: [RUNTIME_GPU_MEMORY_LOW] Full."),
        (events.Finished(100, "lora", 3725.0), "finished after 100 steps in 1:02:05: lora"),
        (events.Progressed(1, 2, 0.1, 1.0, None), None),
    ],
)
def test_each_event_worth_a_line_has_one(event: Event, line: str | None) -> None:
    stream = io.StringIO()
    PlainProgress(stream)(event)
    assert stream.getvalue() == (f"{line}\n" if line else "")


def test_every_event_has_a_line_or_is_shown_elsewhere() -> None:
    every = {t.__name__ for t in Event.__args__}
    assert every == LINES.keys() | {"Planned", "Progressed", "Written", "Failed", "Interrupted"}


@pytest.mark.parametrize("event", [STEP, events.Stage('token="a" and "b"'), events.Failed(1, "RUNTIME_BUG", SECRET)])
def test_json_is_one_object_a_line_with_the_events_name_and_no_secret(event: Event) -> None:
    stream = io.StringIO()
    JsonProgress(stream)(event)
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["event"] == type(event).__name__
    assert SECRET not in line


def test_secrets_do_not_reach_a_line() -> None:
    assert line_of(events.Stage(f"loading {SECRET}")) == "loading [redacted]"


@pytest.mark.parametrize(("seconds", "text"), [(None, "?"), (0, "0:00"), (59.6, "1:00"), (3600, "1:00:00")])
def test_durations_read_as_clocks(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
