from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

from backprop.effects.store import index as index_module
from backprop.effects.store.history import HistoryStore
from backprop.effects.store.liveness import this_worker
from backprop.plan.errors import BackpropError
from backprop.plan.events import Progressed, Started
from backprop.plan.runs.record import RunRecord, row_of
from backprop.plan.runs.run_id import make_run_id
from backprop.plan.settings.verbs.runs import RunStatus
from tests.effects.children import fork, in_child, kill, wait_for
from tests.plan.runs.examples import a_record

FIRST, SECOND, THIRD = "20261124-193802-k3f9", "20261124-193802-zzzz", "20261125-080000-abcd"
COMPLETED = RunStatus.COMPLETED


@pytest.fixture
def store(tmp_path: Path) -> HistoryStore:
    return HistoryStore(tmp_path / "output")


def record(run_id: str, **changes: Any) -> RunRecord:
    day, clock = run_id[:8], run_id[9:15]
    created = f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}Z"
    return a_record(run_id, **({"created_at": created, "run_status": COMPLETED} | changes))


def start(store: HistoryStore, *run_ids: str, **changes: Any) -> None:
    for run_id in run_ids:
        with store.run_lock(run_id):
            store.start(record(run_id, **changes))


def ids(store: HistoryStore) -> list[str]:
    return [row.run_id for row in store.index()]


def history_file(store: HistoryStore) -> Path:
    return store.output_dir / "run_history.json"


def code_of(error: pytest.ExceptionInfo[BackpropError]) -> str:
    return error.value.problems[0].code


def test_a_directory_without_runs_has_an_empty_history(store: HistoryStore) -> None:
    assert store.index() == ()
    assert not store.output_dir.exists()


def test_runs_are_listed_newest_first(store: HistoryStore) -> None:
    start(store, SECOND, THIRD, FIRST)
    assert ids(store) == [THIRD, SECOND, FIRST]
    assert store.load(SECOND) == record(SECOND)
    assert store.index()[1] == row_of(record(SECOND))


def test_an_update_shows_in_the_record_and_in_the_index(store: HistoryStore) -> None:
    start(store, FIRST, SECOND)
    store.update(FIRST, lambda r: attrs.evolve(r, last_loss=0.5, steps_done=7))
    assert store.load(FIRST).last_loss == 0.5
    assert [row.steps_done for row in store.index()] == [0, 7]


def test_an_id_that_is_taken_is_refused_and_the_run_that_has_it_stands(store: HistoryStore) -> None:
    start(store, FIRST, last_loss=1.0)
    with pytest.raises(BackpropError) as error:
        store.start(record(FIRST))
    assert code_of(error) == "STATE_RUN_ACTIVE"
    assert store.load(FIRST).last_loss == 1.0


def test_what_a_run_left_that_was_killed_before_its_record_was_there_is_swept_by_the_next(store: HistoryStore) -> None:
    run_dir = store.run_dir(FIRST)
    run_dir.mkdir(parents=True)
    left = run_dir / ".partial-record.json-0a1b2c3d"
    left.write_text("{")
    with store.run_lock(FIRST):
        left.write_text("{")
        start(store, SECOND)
        assert left.exists(), "its holder is alive"
    left.write_text("{")
    start(store, THIRD)
    assert not left.exists()
    assert ids(store) == [THIRD, SECOND]


def test_listing_reads_no_record_when_the_index_is_current(
    store: HistoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(store, FIRST, SECOND)
    read: list[str] = []
    plain = index_module.read_json_object

    def counting(path: Path) -> Mapping[str, Any]:
        read.append(path.name)
        return plain(path)

    monkeypatch.setattr(index_module, "read_json_object", counting)
    assert len(store.index()) == 2
    assert read == ["run_history.json"]


def test_a_run_is_found_by_the_beginning_of_its_id(store: HistoryStore) -> None:
    start(store, FIRST, SECOND, THIRD)
    assert store.find("20261125").run_id == THIRD
    with pytest.raises(BackpropError) as ambiguous:
        store.find("20261124-193802")
    assert code_of(ambiguous) == "INPUT_RUN_AMBIGUOUS"
    with pytest.raises(BackpropError) as unknown:
        store.find("2025", unknown_code="INPUT_RESUME_NOT_FOUND")
    assert code_of(unknown) == "INPUT_RESUME_NOT_FOUND"
    assert str(store.output_dir) in unknown.value.problems[0].message


def test_a_lost_index_is_made_again_from_the_records(store: HistoryStore) -> None:
    start(store, FIRST, SECOND)
    before = store.history()
    history_file(store).unlink()
    assert store.history() == before
    start(store, THIRD)
    assert len(json.loads(history_file(store).read_text())["runs"]) == 3


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema_version": 1, "runs": [{}]}', b"[" * 99999]
)
def test_a_damaged_index_is_reported_by_readers_and_set_aside_by_writers(store: HistoryStore, content: bytes) -> None:
    start(store, FIRST, SECOND)
    history_file(store).write_bytes(content)
    history = store.history()
    assert [w.code for w in history.warnings] == ["STATE_HISTORY_UNREADABLE"]
    assert [e.row.run_id for e in history.entries] == [SECOND, FIRST]
    assert history_file(store).read_bytes() == content, "looking changes nothing"
    start(store, THIRD)
    assert ids(store) == [THIRD, SECOND, FIRST]
    assert store.history().warnings == ()
    assert (store.output_dir / "run_history.json.unreadable-1").read_bytes() == content


def test_a_damaged_record_is_kept_aside_and_its_line_stays(store: HistoryStore) -> None:
    start(store, FIRST, SECOND)
    path = store.run_dir(FIRST) / "record.json"
    path.write_bytes(b"half a rec")
    assert [w.code for w in store.history().warnings] == ["STATE_HISTORY_UNREADABLE"]
    with pytest.raises(BackpropError) as error:
        store.load(FIRST)
    assert code_of(error) == "STATE_HISTORY_UNREADABLE"
    start(store, THIRD)
    assert path.with_name("record.json.unreadable-1").read_bytes() == b"half a rec"
    assert ids(store) == [THIRD, SECOND, FIRST]


def test_the_files_of_a_later_version_are_left_alone(store: HistoryStore) -> None:
    start(store, FIRST, SECOND)
    newer = {"schema_version": 2, "runs": "in another shape"}
    (store.run_dir(FIRST) / "record.json").write_text(json.dumps(newer))
    assert [w.code for w in store.history().warnings] == ["STATE_NEWER_VERSION"]
    with pytest.raises(BackpropError) as record_error:
        store.load(FIRST)
    assert code_of(record_error) == "STATE_NEWER_VERSION"
    history_file(store).write_text(json.dumps(newer))
    with pytest.raises(BackpropError) as index_error:
        start(store, THIRD)
    assert code_of(index_error) == "STATE_NEWER_VERSION"
    assert json.loads(history_file(store).read_text()) == newer


def test_an_index_older_than_a_record_is_mended_by_looking_at_the_record(store: HistoryStore) -> None:
    start(store, FIRST, run_status=RunStatus.RUNNING)
    stale = history_file(store).read_bytes()
    store.update(FIRST, lambda r: attrs.evolve(r, run_status=COMPLETED))
    history_file(store).write_bytes(stale)
    assert store.index()[0].run_status is COMPLETED


def test_a_run_whose_directory_was_removed_leaves_the_list(store: HistoryStore) -> None:
    start(store, FIRST, SECOND)
    shutil.rmtree(store.run_dir(FIRST))
    assert ids(store) == [SECOND]


def test_a_history_that_was_copied_elsewhere_reads_the_same(store: HistoryStore, tmp_path: Path) -> None:
    start(store, FIRST, SECOND)
    shutil.copytree(store.output_dir, tmp_path / "copy", copy_function=shutil.copyfile)
    assert HistoryStore(tmp_path / "copy").index() == store.index()


def test_only_events_that_are_history_are_written_with_their_time(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path, clock=lambda: datetime(2026, 11, 24, 19, 38, 2, tzinfo=UTC))
    start(store, FIRST)
    store.append_event(FIRST, Started(FIRST, 10))
    store.append_event(FIRST, Progressed(1, 10, 1.0, 5.0, None))
    assert [(e.at, e.event) for e in store.events(FIRST)] == [("2026-11-24T19:38:02Z", Started(FIRST, 10))]


def test_publishing_leads_lora_to_the_adapter(store: HistoryStore) -> None:
    start(store, FIRST)
    (store.run_dir(FIRST) / "adapter").mkdir()
    store.publish(f"runs/{FIRST}/adapter")
    assert (store.output_dir / "lora").resolve() == (store.run_dir(FIRST) / "adapter").resolve()


def work_on(store: HistoryStore, run_id: str, ready: Path) -> None:
    with store.run_lock(run_id):
        store.start(record(run_id, run_status=RunStatus.RUNNING, worker=this_worker()))
        ready.touch()
        time.sleep(60)


def test_a_run_is_running_while_its_process_lives_and_failed_when_it_was_killed(
    store: HistoryStore, tmp_path: Path
) -> None:
    worker = fork(lambda: work_on(store, FIRST, tmp_path / "ready"))
    wait_for(tmp_path / "ready")
    try:
        assert store.index()[0].run_status is store.find(FIRST).run_status is RunStatus.RUNNING
        with pytest.raises(BackpropError) as error, store.run_lock(FIRST):
            raise AssertionError("two work on one run")
        assert code_of(error) == "STATE_RUN_ACTIVE"
    finally:
        kill(worker)
    assert store.index()[0].run_status is store.find(FIRST).run_status is RunStatus.FAILED
    assert store.load(FIRST).run_status is RunStatus.RUNNING, "looking changes nothing"
    with store.run_lock(FIRST):
        pass


def test_taking_a_run_up_sweeps_what_its_last_holder_left_unfinished(store: HistoryStore) -> None:
    start(store, FIRST)
    (store.run_dir(FIRST) / ".partial-staging").mkdir()
    with store.run_lock(FIRST) as run_dir:
        assert sorted(path.name for path in run_dir.iterdir()) == [".lock", "record.json"]


def test_eight_processes_lose_nothing(store: HistoryStore) -> None:
    def work(number: int) -> None:
        for second in range(4):
            moment = datetime(2026, 11, 24, 19, number, second, tzinfo=UTC)
            run_id = make_run_id(moment, number)
            start(store, run_id)
            store.append_event(run_id, Started(run_id, 10))
            store.update(run_id, lambda r: attrs.evolve(r, steps_done=number))

    children = [fork(lambda number=number: work(number)) for number in range(8)]  # type: ignore[misc]
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    stored = json.loads(history_file(store).read_text())["runs"]
    assert len(stored) == len(store.index()) == 32
    assert all(row.steps_done == int(row.created_at[14:16]) for row in store.index())
    assert all(len(store.events(row.run_id)) == 1 for row in store.index())


def test_kills_in_the_middle_of_updates_leave_a_history_that_reads(store: HistoryStore) -> None:
    start(store, FIRST, SECOND)

    def update_forever() -> None:
        while True:
            store.update(FIRST, lambda r: attrs.evolve(r, steps_done=r.steps_done + 1))

    reached = 0
    for milliseconds in range(10):
        kill(fork(update_forever), after_seconds=0.02 + milliseconds / 1000)
        history = store.history()
        assert history.warnings == ()
        assert [e.row.run_id for e in history.entries] == [SECOND, FIRST]
        assert history.entries[1].row.steps_done == store.load(FIRST).steps_done >= reached
        reached = store.load(FIRST).steps_done
    assert reached
    assert in_child(lambda: start(store, THIRD)), "the lock of a killed process is free"
    assert not [path for path in store.output_dir.iterdir() if path.name.startswith(".partial-")]
