"""Several processes that train together: what they tell one another besides gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import attrs
import torch
import torch.distributed as dist

from backprop.effects.train.task import TrainTask
from backprop.effects.train.translation import translated
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.facts.processes import SINGLE, Processes
from backprop.plan.training.plan import TrainPlan
from backprop.plan.training.rail import Rail

T = TypeVar("T")


@attrs.frozen
class Together:
    """The processes of a run. Every method is called by all of them, in the same order, and does nothing for one."""

    processes: Processes = SINGLE

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes; the others wait for it."""
        if self.processes.count == 1:
            return make()
        box: list[Any] = [make() if self.processes.is_first else None]
        dist.broadcast_object_list(box, src=0)
        return cast(T, box[0])

    def gathered(self, value: T) -> list[T]:
        """The value of each process, by rank."""
        if self.processes.count == 1:
            return [value]
        values: list[Any] = [None] * self.processes.count
        dist.all_gather_object(values, value)
        return values

    def any(self, flag: bool) -> bool:
        """Whether any of them says so."""
        return any(self.gathered(flag))

    def wait(self) -> None:
        """Until all are here."""
        self.gathered(None)


@contextmanager
def together(plan: TrainPlan, processes: Processes) -> Iterator[Together]:
    """The group of the processes that the launcher has started; nothing is set up for one."""
    if processes.count == 1:
        yield Together()
        return
    on_card = plan.rail.value is Rail.CUDA
    with translated("RUNTIME_TRAINING_FAILED", "The processes do not find one another", where="MASTER_ADDR"):
        if on_card:
            torch.cuda.set_device(processes.local_rank)
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_card else "gloo")
    try:
        yield Together(processes)
        # A process that ends while another still talks to it can take that one down.
        dist.barrier()
    finally:
        dist.destroy_process_group()


def as_the_first(group: Together, plan: TrainPlan, task: TrainTask) -> tuple[TrainPlan, TrainTask]:
    """The first process's plan, places and past for all; each keeps the rows that it has read itself.

    Raises ``BackpropError`` STATE_INPUTS_CHANGED when it has read others.
    """
    if group.processes.count == 1:
        return plan, task
    shared = ("model_dir", "staging_dir", "resume_from", "evaluations", "recoveries", "planned_memory", "run_id")
    first, fields = group.from_first(lambda: (plan, {name: getattr(task, name) for name in (*shared, "run_dir")}))
    if first.data != plan.data:
        message = f"Process {group.processes.rank} has read other rows than the first one."
        raise BackpropError(Problem("STATE_INPUTS_CHANGED", message, where=plan.data.train.name))
    return first, attrs.evolve(task, **fields)
