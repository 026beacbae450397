from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from backprop.effects.files.rows import Block, HeldLines
from backprop.effects.processes.block_workers import map_blocks
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

PATH = Path("rows.jsonl")


def blocks(count: int, *, error_after: int | None = None) -> Iterator[Block]:
    for number in range(count):
        if number == error_after:
            raise BackpropError(Problem("INPUT_DATASET_INVALID", "damaged"))
        yield HeldLines(PATH, number, b"x")


def first_line(block: Block) -> int:
    assert isinstance(block, HeldLines)
    return block.first_line


def fail_at_3(block: Block) -> int:
    if first_line(block) == 3:
        raise BackpropError(Problem("INPUT_DATASET_CHANGED", "changed"))
    return first_line(block)


def die(_: Block) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def pid_of(_: Block) -> int:
    return os.getpid()


@pytest.mark.parametrize("num_processes", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 17])
def test_results_come_in_the_order_of_the_blocks(num_processes: int, count: int) -> None:
    worked = list(map_blocks(first_line, blocks(count), num_processes=num_processes))
    assert [first_line(block) for block, _ in worked] == [number for _, number in worked] == list(range(count))


@pytest.mark.parametrize("num_processes", [1, 3])
def test_an_error_is_raised_after_what_stands_before_it(num_processes: int) -> None:
    for work, source, code in (
        (fail_at_3, blocks(9), "INPUT_DATASET_CHANGED"),
        (first_line, blocks(9, error_after=3), "INPUT_DATASET_INVALID"),
    ):
        done: list[int] = []
        with pytest.raises(BackpropError) as error:
            done.extend(number for _, number in map_blocks(work, source, num_processes=num_processes))
        assert error.value.problems[0].code == code
        worked = map_blocks(work, blocks(3), num_processes=num_processes)
        assert [number for _, number in worked] == [0, 1, 2]


def test_blocks_are_read_only_a_little_ahead_of_the_work() -> None:
    read: list[int] = []

    def counted() -> Iterator[Block]:
        for block in blocks(100):
            read.append(first_line(block))
            yield block

    worked = map_blocks(first_line, counted(), num_processes=2)
    next(worked)
    worked.close()
    assert len(read) <= 6


def test_a_single_block_is_worked_on_here_and_more_are_not() -> None:
    assert [pid for _, pid in map_blocks(pid_of, blocks(1), num_processes=2)] == [os.getpid()]
    assert os.getpid() not in {pid for _, pid in map_blocks(pid_of, blocks(4), num_processes=2)}


def test_a_process_that_is_killed_is_an_error() -> None:
    with pytest.raises(BackpropError) as lost:
        list(map_blocks(die, blocks(3), num_processes=2))
    assert lost.value.problems[0].code == "RUNTIME_WORKER_LOST"
