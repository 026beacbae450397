"""Generating from a run that has not finished says how to finish it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backprop.effects.probe.generation import observe_target
from backprop.effects.store.history import HistoryStore
from backprop.plan.facts.absent import Absent
from backprop.plan.settings.verbs.runs import RunStatus
from tests.plan.runs.examples import a_record


@pytest.mark.parametrize("of_one_run", [False, True])
def test_an_interrupted_run_is_named_with_the_command_that_continues_it(tmp_path: Path, of_one_run: bool) -> None:
    record = a_record(run_status=RunStatus.INTERRUPTED, steps_done=7)
    store = HistoryStore(tmp_path)
    store.start(record)
    seen = observe_target(str(store.run_dir(record.run_id) if of_one_run else tmp_path))
    assert isinstance(seen, Absent)
    assert f"backprop resume {record.run_id} --output {tmp_path}" in seen.problem.hint
    assert "after 7 of 100 steps" in seen.problem.hint


def test_a_directory_without_runs_sends_to_the_list_of_runs(tmp_path: Path) -> None:
    seen = observe_target(str(tmp_path))
    assert isinstance(seen, Absent)
    assert "backprop runs" in seen.problem.hint
