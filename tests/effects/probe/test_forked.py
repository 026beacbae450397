from __future__ import annotations

import os

import pytest

from backprop.effects.probe.forked import in_processes, num_cpus
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="takes fork")


def test_each_process_gets_its_number_and_answers_come_in_order() -> None:
    pids = in_processes(lambda number: (number, os.getpid()), 3)
    assert [number for number, _ in pids] == [0, 1, 2]
    assert len({pid for _, pid in pids} | {os.getpid()}) == 4


def test_one_process_is_this_one() -> None:
    assert in_processes(lambda number: (number, os.getpid()), 1) == [(0, os.getpid())]


def test_a_problem_of_a_process_is_raised_here() -> None:
    def work(number: int) -> None:
        if number == 1:
            raise BackpropError(Problem("RUNTIME_DISK_FULL", "no room"))

    with pytest.raises(BackpropError) as caught:
        in_processes(work, 2)
    assert caught.value.problems == (Problem("RUNTIME_DISK_FULL", "no room"),)


def test_a_process_that_is_killed_is_noticed() -> None:
    with pytest.raises(ChildProcessError):
        in_processes(lambda number: os._exit(9) if number else None, 2)


def test_at_least_one_processor_may_be_used() -> None:
    assert 1 <= num_cpus() <= (os.cpu_count() or 1)
