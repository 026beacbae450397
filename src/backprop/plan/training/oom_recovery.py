"""What a run does when memory runs out: fewer sequences in a pass, more passes in a step, the same updates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import attrs

from backprop.plan.decision import Decision, Problem
from backprop.plan.events import Pass, Recovered
from backprop.plan.training.plan import TrainPlan

MOST_RECOVERIES = 3
"""In a whole run, evaluations and resumed parts included; the count never starts anew.

Three halvings are an eighth of the planned pass. A run that still does not fit was planned for another card, and one
that loses memory as it goes would only be carried from failure to failure by a count that starts anew.
"""


@attrs.frozen
class RecoveryState:
    """How many sequences go through the model at once now. ``effective``, a process's sequences of an update, stays."""

    effective: int
    micro_batch: int
    heldout_batch: int
    num_recoveries: int = 0

    @property
    def accumulation(self) -> int:
        """Passes in a step; the last holds what is left of the effective batch."""
        return -(-self.effective // self.micro_batch)


@attrs.frozen
class OutOfMemory:
    """Memory ran out; ``step`` optimizer steps are finished and kept."""

    during: Pass
    step: int


@attrs.frozen
class GoOn:
    """Command: tell this, and do again what did not fit, with the sizes of the new state."""

    told: Recovered


@attrs.frozen
class GiveUp:
    """Command: end the run. ``why`` is a sentence; see :func:`exhausted`."""

    why: str


Command: TypeAlias = GoOn | GiveUp


def begin(plan: TrainPlan) -> RecoveryState:
    """The state of a run that has had no trouble; evaluations take as many sequences at once as training."""
    micro_batch = plan.batch.micro_batch.value
    return RecoveryState(effective=plan.batch.share, micro_batch=micro_batch, heldout_batch=micro_batch)


def after(plan: TrainPlan, recoveries: Iterable[Recovered]) -> RecoveryState:
    """The state that the recoveries so far, in their order, have led to."""
    state = begin(plan)
    for told in recoveries:
        state = attrs.evolve(
            state, micro_batch=told.micro_batch, heldout_batch=told.heldout_batch, num_recoveries=told.number
        )
    return state


def recover(state: RecoveryState, event: OutOfMemory) -> tuple[RecoveryState, tuple[Command, ...]]:
    """The reducer. An evaluation that does not fit makes evaluations smaller, a training pass makes both smaller."""
    size = state.micro_batch if event.during is Pass.TRAINING else state.heldout_batch
    if size == 1:
        return state, (GiveUp("One sequence alone does not fit, and there is nothing left to halve."),)
    if state.num_recoveries == MOST_RECOVERIES:
        return state, (GiveUp(f"The run has recovered {MOST_RECOVERIES} times already."),)
    if event.during is Pass.TRAINING:
        smaller = state.micro_batch // 2
        changed = attrs.evolve(state, micro_batch=smaller, heldout_batch=min(state.heldout_batch, smaller))
    else:
        changed = attrs.evolve(state, heldout_batch=state.heldout_batch // 2)
    changed = attrs.evolve(changed, num_recoveries=state.num_recoveries + 1)
    return changed, (GoOn(_told(changed, event)),)


def with_recovery(plan: TrainPlan, state: RecoveryState) -> TrainPlan:
    """The plan as it is executed in ``state``; every step still sees the same sequences."""
    planned = plan.batch.micro_batch.value
    if state.micro_batch == planned:
        return plan
    why = f"Memory ran out with {planned} sequences in a pass; an update still has {state.effective}."
    batch = attrs.evolve(
        plan.batch,
        micro_batch=Decision(state.micro_batch, "out of memory", why),
        accumulation=Decision(state.accumulation, "out of memory", why),
    )
    return attrs.evolve(plan, batch=batch)


def exhausted(event: OutOfMemory, command: GiveUp) -> Problem:
    """How a run ends that no smaller pass can help.

    What would make a new one fit depends on the memory plan, which did not hold here: no change is named as enough.
    """
    return Problem(
        "RUNTIME_OOM_RECOVERY_EXHAUSTED",
        f"Memory ran out in {event.during.value} after step {event.step}. {command.why}",
    )


def _told(state: RecoveryState, event: OutOfMemory) -> Recovered:
    return Recovered(
        step=event.step,
        number=state.num_recoveries,
        during=event.during,
        micro_batch=state.micro_batch,
        accumulation=state.accumulation,
        heldout_batch=state.heldout_batch,
    )
