from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from backprop.effects.processes.cpus import num_cpus
from backprop.effects.processes.forked import in_processes
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


def test_a_process_that_is_killed_is_a_lost_worker() -> None:
    def work(number: int) -> None:
        if number:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(BackpropError) as caught:
        in_processes(work, 2)
    assert [problem.code for problem in caught.value.problems] == ["RUNTIME_WORKER_LOST"]


def test_an_answer_that_cannot_be_sent_is_named() -> None:
    with pytest.raises(TypeError, match="cannot be sent"):
        in_processes(lambda number: lambda: number, 2)


class Picky(Exception):
    def __init__(self, one: str, another: str) -> None:
        super().__init__(f"{one} {another}")


def test_an_error_that_cannot_be_sent_is_named() -> None:
    def work(_: int) -> None:
        raise Picky("quite", "particular")

    with pytest.raises(TypeError, match="quite particular"):
        in_processes(work, 2)


def test_no_process_and_no_descriptor_is_left() -> None:
    before = list(Path("/dev/fd").iterdir())
    in_processes(lambda number: number, 3)
    assert list(Path("/dev/fd").iterdir()) == before
    assert not multiprocessing.active_children()


def test_children_leave_ctrl_c_to_the_one_that_waits() -> None:
    def work(number: int) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return number

    assert in_processes(work, 2) == [0, 1]


def test_at_least_one_processor_may_be_used() -> None:
    assert 1 <= num_cpus() <= (os.cpu_count() or 1)
