"""The numbers of a run as lines."""

from __future__ import annotations

import json

from backprop.plan.events import Evaluated, Event, Rewards, Started, Step
from backprop.plan.runs.event_log import RecordedEvent
from backprop.plan.runs.metrics import metrics_text


def recorded(event: Event) -> RecordedEvent:
    return RecordedEvent("2026-01-01T00:00:00Z", event)


def step(number: int, loss: float, rewards: Rewards | None = None) -> RecordedEvent:
    return recorded(
        Step(number, 100, 0.5, loss, 1e-4, grad_norm=None, tokens_per_second=9.0, eta_seconds=None, rewards=rewards)
    )


def evaluated(number: int, loss: float) -> RecordedEvent:
    return recorded(Evaluated(number, loss, num_tokens=7, is_best=True))


def test_reports_and_evaluations_become_lines_and_other_events_do_not() -> None:
    events = [recorded(Started("r", 100)), step(10, 2.0), evaluated(10, 2.5)]
    lines = [json.loads(line) for line in metrics_text(events).splitlines()]
    assert [line.get("loss") for line in lines] == [2.0, None]
    assert lines[1]["heldout_loss"] == 2.5
    assert [line["step"] for line in lines] == [10, 10]


def test_a_run_without_a_report_has_no_lines() -> None:
    assert metrics_text([]) == ""


def test_the_rewards_of_a_preference_method_stand_beside_its_loss() -> None:
    (line,) = metrics_text([step(10, 2.0, Rewards(chosen=0.5, rejected=-0.5, accuracy=0.75))]).splitlines()
    assert (json.loads(line)["reward_margin"], json.loads(line)["reward_accuracy"]) == (1.0, 0.75)
    assert "reward" not in metrics_text([step(10, 2.0)])
