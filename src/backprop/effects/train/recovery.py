"""Out of memory in a run: what is kept of it, how its memory is given back, how often it may happen."""

from __future__ import annotations

import gc
import random
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backprop.effects.train.reporting import Emit
from backprop.plan.errors import BackpropError
from backprop.plan.events import Pass, Recovered
from backprop.plan.runs.checkpoint import checkpoint_step
from backprop.plan.training import oom_recovery
from backprop.plan.training.evaluation import EvaluationState
from backprop.plan.training.oom_recovery import GiveUp, OutOfMemory, RecoveryState
from backprop.plan.training.plan import TrainPlan


class Recovery:
    """The sizes that the run goes on with, each change told when it is made."""

    def __init__(self, plan: TrainPlan, recoveries: tuple[Recovered, ...], *, emit: Emit) -> None:
        self._planned = plan
        self._emit = emit
        self.state: RecoveryState = oom_recovery.after(plan, recoveries)

    @property
    def plan(self) -> TrainPlan:
        """The plan with the present sizes."""
        return oom_recovery.with_recovery(self._planned, self.state)

    def go_on(self, during: Pass, *, step: int) -> None:
        """Make the passes smaller after ``step``. Raises RUNTIME_OOM_RECOVERY_EXHAUSTED when that is not possible."""
        event = OutOfMemory(during, step)
        self.state, commands = oom_recovery.recover(self.state, event)
        for command in commands:
            if isinstance(command, GiveUp):
                raise BackpropError(oom_recovery.exhausted(event, command))
            self._emit(command.told)


@attrs.frozen
class Start:
    """Where training begins or goes on: a checkpoint, None for the beginning, and the evaluations before it."""

    checkpoint: Path | None
    evaluations: EvaluationState

    @property
    def step(self) -> int:
        """Finished optimizer steps there."""
        return (checkpoint_step(self.checkpoint.name) or 0) if self.checkpoint else 0


@attrs.frozen
class RandomStates:
    """The generators that training draws from."""

    python: Any
    numpy: Any
    cpu: torch.Tensor
    cuda: torch.Tensor | None

    @classmethod
    def now(cls) -> RandomStates:
        """As they stand."""
        cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return cls(random.getstate(), numpy.random.get_state(), torch.get_rng_state(), cuda)

    def restore(self) -> None:
        """Put them back."""
        random.setstate(self.python)
        numpy.random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda)


class LastStep(TrainerCallback):  # type: ignore[misc]
    """Knows whether the weights and the optimizer in memory are those of a finished step, and which random states.

    A step that fails before its update has changed nothing but gradients and random states; one that fails within it
    may have changed half of the weights.
    """

    def __init__(self) -> None:
        self._step = 0
        self._random: RandomStates | None = None
        self._is_whole = True

    @property
    def finished(self) -> int | None:
        """The step that is whole in memory; None when there is none that this process has finished."""
        return self._step if self._is_whole and self._random is not None else None

    def restore_random_states(self) -> None:
        """Let them be what they were at the end of the finished step."""
        assert self._random is not None, "a step was finished"
        self._random.restore()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """From here on weights are changed."""
        self._is_whole = False

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Weights, optimizer and schedule have all moved on."""
        self._step, self._random, self._is_whole = state.global_step, RandomStates.now(), True


def release_memory() -> None:
    """Give back what nothing refers to any more; the library's objects refer to one another in circles."""
    gc.collect()
    torch.cuda.empty_cache()


def forget_model() -> None:
    """Give back a model and its optimizer that are done with, where libraries hold on to them for good.

    bitsandbytes keeps the embeddings that it steps in 32 bits, by the addresses of their weights, which a new model may
    have again, and all paged state.
    """
    bitsandbytes = sys.modules.get("bitsandbytes")
    if bitsandbytes is not None:
        bitsandbytes.optim.GlobalOptimManager.get_instance().initialize()
        bitsandbytes.functional.GlobalPageManager.get_instance().initialize()
    release_memory()
