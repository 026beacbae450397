"""When a run saves what it has, how many of those it keeps, and whether the disk holds them."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Decision, Problem
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts
from backprop.plan.quantity import gib
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Optimizer, TrainingSettings
from backprop.plan.training.chosen import set_by
from backprop.plan.training.precision import NumberFormat

STATELESS = frozenset({Optimizer.SGD, Optimizer.ADAFACTOR})
"""Plain SGD has no state, Adafactor's is a row and a column of each matrix."""
BYTES_IN_8_BITS = 2 * (1 + 4 / 256)
"""Two states of a byte, each with a float32 scale for every 256 numbers."""
BYTES_IN_32_BITS = 2 * 4


@attrs.frozen
class CheckpointPlan:
    """A checkpoint holds what is trained, optimizer, schedule, random states and data cursor.

    The last step always has one.
    """

    every: Decision[int]
    keep: int
    """Newest checkpoints kept; the best one by held-out loss is kept besides."""


def plan_checkpoints(settings: TrainingSettings, *, steps: int, origins: Origins) -> CheckpointPlan:
    """As often as asked, and at the end."""
    asked = settings.save_steps
    every = set_by(origins, "training.save_steps", asked) or Decision(
        asked, "default", "What a crash can cost at most; the last step is always saved."
    )
    if every.value > steps:
        every = Decision(steps, "the last step", f"The run ends before {every.value} steps.")
    return CheckpointPlan(every=every, keep=settings.keep_checkpoints)


def full_checkpoint_bytes(model: ModelFacts, weights: NumberFormat, optimizer: Optimizer) -> int:
    """Size of a checkpoint of every weight and of the optimizer's states."""
    return model.num_parameters * weights.num_bytes + _state_bytes(model, weights, optimizer)


def _state_bytes(model: ModelFacts, weights: NumberFormat, optimizer: Optimizer) -> int:
    if optimizer in STATELESS:
        return 0
    if optimizer.has_8bit_states:
        # transformers tells bitsandbytes to keep the states of embeddings in float32.
        embedding = model.vocab_size * model.hidden_size
        return round((model.num_parameters - embedding) * BYTES_IN_8_BITS + embedding * BYTES_IN_32_BITS)
    return 2 * model.num_parameters * weights.num_bytes


def check_disk(
    plan: CheckpointPlan, *, checkpoint_bytes: int, steps: int, num_evaluations: int, hardware: HardwareFacts
) -> tuple[Problem, ...]:
    """Refused when the checkpoints that stand together at the worst moment do not fit.

    A checkpoint is complete before an older one goes, so that is one more than are kept, and the best one besides;
    each evaluation may find a new best one, which is saved at once.
    """
    free = hardware.disk_free_bytes
    saved = -(-steps // plan.every.value) + num_evaluations
    together = min(saved, plan.keep + 1 + (num_evaluations > 0))
    needed = together * checkpoint_bytes
    if free is None or needed <= free:
        return ()
    return (
        Problem(
            "RUNTIME_DISK_FULL",
            f"Checkpoints of {gib(checkpoint_bytes)}, of which {together} stand together, take"
            f" {gib(needed)},"
            f" and {gib(free)} are free.",
            where="--output",
            hint="Free some space, choose another disk with --output, raise --save-steps or lower --keep-checkpoints.",
        ),
    )
