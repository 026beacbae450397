from __future__ import annotations

import resource
from pathlib import Path

import pytest

from backprop.effects.store.events import append_event, read_events, truncate_events
from backprop.plan.errors import BackpropError
from backprop.plan.events import Evaluated, Event, Failed, Finished, Started
from backprop.plan.runs.event_log import RecordedEvent
from tests.effects.children import fork, in_child, kill, wait_for

AT = "2026-11-24T19:38:02Z"
STARTED = RecordedEvent(AT, Started("20261124-193802-k3f9", 10))


def evaluated(step: int) -> RecordedEvent:
    return RecordedEvent(AT, Evaluated(step=step, loss=1.5, num_tokens=7, is_best=True))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_events_come_back_in_order_with_their_times(path: Path) -> None:
    events = (STARTED, evaluated(1), RecordedEvent(AT, Finished(10, "runs/x/adapter", 3.5)))
    for event in events:
        append_event(path, event)
    assert read_events(path) == events


def test_there_are_none_without_a_file(path: Path) -> None:
    assert read_events(path) == ()


@pytest.mark.parametrize("num_bytes", [1, 20, 200_000])
def test_a_line_that_a_kill_cut_short_is_no_line_and_the_next_one_takes_its_place(path: Path, num_bytes: int) -> None:
    append_event(path, STARTED)
    with path.open("ab") as file:
        file.write(b'{"at": "' + b"x" * (num_bytes - 1))
    assert read_events(path) == (STARTED,)
    append_event(path, evaluated(1))
    assert read_events(path) == (STARTED, evaluated(1))
    assert path.read_bytes().count(b"\n") == 2


def test_a_file_that_is_nothing_but_a_torn_line_starts_anew(path: Path) -> None:
    path.write_bytes(b'{"at"')
    append_event(path, STARTED)
    assert read_events(path) == (STARTED,)


def test_unreadable_lines_are_left_out(path: Path) -> None:
    append_event(path, STARTED)
    with path.open("ab") as file:
        file.write(b'\x00\x00\xff\n[1]\n{"at": "x", "event": "Unheard"}\n')
    append_event(path, evaluated(1))
    assert read_events(path) == (STARTED, evaluated(1))


def test_a_full_disk_leaves_the_events_as_they_were(path: Path) -> None:
    append_event(path, STARTED)
    before = path.read_bytes()

    def overfill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, len(before) + 20))
        with pytest.raises(BackpropError) as error:
            append_event(path, evaluated(1))
        assert error.value.problems[0].code == "RUNTIME_DISK_FULL"

    assert in_child(overfill)
    assert path.read_bytes() == before


def test_secrets_in_messages_are_masked(path: Path) -> None:
    append_event(path, RecordedEvent(AT, Failed(1, "HUB_UNREACHABLE", "refused hf_abcdefghijklmnop")))
    assert b"hf_abc" not in path.read_bytes()
    assert b"[redacted]" in path.read_bytes()


def test_going_back_drops_later_measurements(path: Path) -> None:
    for event in (STARTED, evaluated(5), evaluated(6)):
        append_event(path, event)
    truncate_events(path, 5)
    assert read_events(path) == (STARTED, evaluated(5))


def test_kills_in_the_middle_of_appending_lose_at_most_the_last_event(path: Path) -> None:
    def append_forever() -> None:
        step = len(read_events(path))
        while True:
            append_event(path, evaluated(step))
            step += 1

    seen = 0
    for milliseconds in range(8):
        child = fork(append_forever)
        wait_for(path)
        kill(child, after_seconds=milliseconds / 1000)
        events: list[Event] = [recorded.event for recorded in read_events(path)]
        assert events == [evaluated(step).event for step in range(len(events))]
        assert len(events) >= seen
        seen = len(events)
    assert seen
