from __future__ import annotations

import time
from pathlib import Path

import pytest

from backprop.effects.files.lock import locked
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from tests.effects.children import fork, in_child, kill, wait_for

BUSY = Problem("STATE_RUN_ACTIVE", "Somebody has it.")


def hold(path: Path, ready: Path) -> None:
    with locked(path, timeout_seconds=5, busy=BUSY):
        ready.touch()
        time.sleep(60)


def test_a_held_lock_is_refused_with_the_callers_problem(tmp_path: Path) -> None:
    path, ready = tmp_path / "deep" / ".lock", tmp_path / "ready"
    holder = fork(lambda: hold(path, ready))
    wait_for(ready)
    try:
        with pytest.raises(BackpropError) as error, locked(path, timeout_seconds=0, busy=BUSY):
            raise AssertionError("two hold one lock")
        assert error.value.problems == (BUSY,)
    finally:
        kill(holder)


def test_a_lock_is_free_when_its_holder_is_killed(tmp_path: Path) -> None:
    path, ready = tmp_path / ".lock", tmp_path / "ready"
    holder = fork(lambda: hold(path, ready))
    wait_for(ready)
    kill(holder)
    with locked(path, timeout_seconds=0, busy=BUSY):
        pass


def test_a_lock_can_be_taken_again_after_an_error_inside(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with pytest.raises(KeyError), locked(path, timeout_seconds=0, busy=BUSY):
        raise KeyError

    def take() -> None:
        with locked(path, timeout_seconds=0, busy=BUSY):
            pass

    assert in_child(take)


def test_a_lock_in_a_place_that_cannot_be_is_an_unusable_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackpropError) as error, locked(tmp_path / "file" / ".lock", timeout_seconds=0, busy=BUSY):
        pass
    assert error.value.problems[0].code == "INPUT_PATH_UNUSABLE"
