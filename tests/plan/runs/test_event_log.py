from __future__ import annotations

from backprop.plan.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Failed,
    Pass,
    Progressed,
    Recovered,
    Stage,
    Started,
    Step,
)
from backprop.plan.runs.event_log import (
    RecordedEvent,
    events_up_to,
    heldout_losses_of,
    is_recorded,
    losses_of,
    recoveries_of,
)

AT = "2026-11-24T19:38:02Z"


def step(number: int, loss: float = 1.0) -> Step:
    return Step(
        step=number,
        num_steps=10,
        epoch=0.5,
        loss=loss,
        learning_rate=1e-4,
        grad_norm=None,
        tokens_per_second=10.0,
        eta_seconds=None,
    )


def recorded(*events: Event) -> tuple[RecordedEvent, ...]:
    return tuple(RecordedEvent(AT, event) for event in events)


def test_going_back_drops_later_measurements_and_keeps_what_happened() -> None:
    events = recorded(
        Started("r", 10), step(4), CheckpointSaved(5, "checkpoint-5"), step(6), Evaluated(6, 2.0, 9, True)
    ) + recorded(Failed(7, "RUNTIME_GPU_OOM", "full"))
    kept = [r.event for r in events_up_to(events, 5)]
    assert kept == [Started("r", 10), step(4), CheckpointSaved(5, "checkpoint-5"), Failed(7, "RUNTIME_GPU_OOM", "full")]


def test_losses_come_in_order_with_their_steps() -> None:
    events = recorded(step(1, 3.0), Evaluated(1, 2.5, 9, True), step(2, 2.0))
    assert losses_of(events) == ((1, 3.0), (2, 2.0))
    assert heldout_losses_of(events) == ((1, 2.5),)


def test_what_is_only_shown_is_not_recorded() -> None:
    assert not is_recorded(Progressed(1, 10, 1.0, 5.0, None))
    assert not is_recorded(Stage("loading"))
    assert is_recorded(step(1))


def test_recoveries_outlast_going_back_behind_them() -> None:
    recovered = Recovered(6, 1, Pass.TRAINING, micro_batch=2, accumulation=4, heldout_batch=2)
    events = recorded(Started("r", 10), step(6), recovered)
    assert is_recorded(recovered)
    assert recoveries_of(events_up_to(events, 3)) == (recovered,)
