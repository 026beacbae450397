from __future__ import annotations

import pytest

from backprop.plan.runs.liveness import seen_status
from backprop.plan.settings.verbs.runs import RunStatus
from tests.plan.runs.examples import WORKER

RUNNING, FAILED = RunStatus.RUNNING, RunStatus.FAILED


@pytest.mark.parametrize(
    ("started_at", "seen"),
    [(WORKER.started_at, RUNNING), (WORKER.started_at + 1, RUNNING), (WORKER.started_at + 60, FAILED), (None, FAILED)],
)
def test_a_run_goes_on_only_while_the_process_that_began_it_lives(started_at: float | None, seen: RunStatus) -> None:
    assert seen_status(RUNNING, WORKER, hostname="forge", started_at=started_at) is seen


def test_a_run_on_another_machine_is_believed() -> None:
    assert seen_status(RUNNING, WORKER, hostname="anvil", started_at=None) is RUNNING


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, FAILED])
def test_what_has_ended_stays_as_it_ended(status: RunStatus) -> None:
    assert seen_status(status, WORKER, hostname="forge", started_at=None) is status
