"""When a run saves what it has, how many of those it keeps, and whether the disk holds them."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Decision, Problem
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.memory.optimizer_state import state_bytes
from backprop.plan.memory.static import trainable_parameters
from backprop.plan.quantity import gib
from backprop.plan.settings.lora import AdapterInit
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainingSettings
from backprop.plan.training.adapter import AdapterPlan
from backprop.plan.training.chosen import set_by
from backprop.plan.training.memory import Workload


@attrs.frozen
class CheckpointPlan:
    """A checkpoint holds what is trained, optimizer, schedule, random states and data cursor.

    The last step always has one.
    """

    every: Decision[int]
    keep: int
    """Newest checkpoints kept; the best one by held-out loss is kept besides."""
    num_bytes: int | None = None
    """Size of one: what is trained, first weights and the optimizer's states; None before those are known."""


def plan_checkpoints(settings: TrainingSettings, *, origins: Origins, num_bytes: int | None = None) -> CheckpointPlan:
    """As often as asked, however long the run is; the trainer saves at its end besides."""
    asked = settings.save_steps
    every = set_by(origins, "training.save_steps", asked) or Decision(
        asked, "default", "What a crash can cost at most; the last step is always saved."
    )
    return CheckpointPlan(every=every, keep=settings.keep_checkpoints, num_bytes=num_bytes)


def checkpoint_bytes(workload: Workload, adapter: AdapterPlan | None) -> int:
    """Size of the tensors in a checkpoint: what is trained, what the optimizer keeps of it, and first weights."""
    training = workload.training
    groups = trainable_parameters(workload.model, training)
    trained = sum(group.count * group.numel * group.itemsize for group in groups)
    return trained + state_bytes(groups, training) + _first_weights_bytes(adapter, trained)


def _first_weights_bytes(adapter: AdapterPlan | None, trained: int) -> int:
    """The first factors beside the trained ones; LoftQ's also with those before its last quantization, in float32."""
    if adapter is None or adapter.initial is None:
        return 0
    is_loftq = adapter.initial.kind.value is AdapterInit.LOFTQ
    return trained + (4 * adapter.num_parameters if is_loftq else 0)


def check_disk(
    plan: CheckpointPlan,
    *,
    steps: int,
    num_evaluations: int,
    hardware: HardwareFacts,
    num_present: int = 0,
) -> tuple[Problem, ...]:
    """Refused when the checkpoints that stand together at the worst moment do not fit.

    A checkpoint is complete before an older one goes, so that is one more than are kept, and the best one besides;
    each evaluation may find a new best one, which is saved at once. ``steps`` and ``num_evaluations`` are those to
    come, ``num_present`` the checkpoints that the disk has already.
    """
    free = hardware.disk_free_bytes
    if free is None or plan.num_bytes is None or steps <= 0:
        return ()
    saved = -(-steps // plan.every.value) + num_evaluations
    together = min(num_present + saved, plan.keep + 1 + (num_evaluations > 0))
    more = max(1, together - num_present)
    needed = more * plan.num_bytes
    if needed <= free:
        return ()
    beside = f" ({num_present} of them there already)" if num_present else ""
    return (
        Problem(
            "RUNTIME_DISK_FULL",
            f"Checkpoints of {gib(plan.num_bytes)}, of which {together} stand together{beside}, take {gib(needed)}, "
            f"and {gib(free)} are free.",
            where="--output",
            hint="Free some space, choose another disk with --output, raise --save-steps or lower --keep-checkpoints.",
        ),
    )
