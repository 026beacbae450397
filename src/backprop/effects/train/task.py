"""What the executor of a training run is given and returns; free of torch, so that workflows can speak of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import attrs

from backprop.plan.events import Recovered
from backprop.plan.facts.processes import SINGLE, Processes
from backprop.plan.training.evaluation import EvaluationState

CommitCheckpoint = Callable[[Path, int], Path]
"""Takes a staged checkpoint directory and its step, makes it the run's own, and returns where it then stands."""


class Rows(Protocol):
    """Tokenized rows that can be read in any order."""

    def __len__(self) -> int: ...

    def length(self, index: int) -> int:
        """Tokens of a row."""

    def row(self, index: int) -> tuple[memoryview, memoryview]:
        """(int32 token ids, one byte a token that is 1 where it is learned)."""

    def is_good(self, index: int) -> bool:
        """Whether the row is a good answer; of a pair the two answers stand one after the other, the good one first."""


@attrs.frozen
class PlannedMemory:
    """What the plan expects of the card's memory."""

    peak_bytes: int
    """The peak of what torch hands out in a step, the optimizer's state included."""
    optimizer_bytes: int
    """The optimizer's state, which is not there yet before the first step."""


@attrs.frozen
class TrainTask:
    """What the executor is given besides the plan: places on disk, the tokenized rows, and where to go on."""

    model_dir: str
    staging_dir: Path
    """Where checkpoints are put together; on the file system of the run's directory."""
    rows: Rows
    heldout: Rows | None
    resume_from: Path | None
    """The checkpoint to go on from; None begins at step 0."""
    evaluations: EvaluationState
    """What the evaluations before that checkpoint have shown."""
    commit_checkpoint: CommitCheckpoint
    recoveries: tuple[Recovered, ...] = ()
    """How often memory ran out in the run so far, and to which sizes that led."""
    planned_memory: PlannedMemory | None = None
    """None when nothing was predicted."""
    run_id: str | None = None
    """What trackers know the run by."""
    run_dir: Path | None = None
    """Where everything of the run stands."""
    processes: Processes = SINGLE
    """Which of several processes this is; of those that are not the first, places and evaluations are replaced by the
    first one's."""


@attrs.frozen
class TrainResult:
    """How the loop ended; the last step always has a checkpoint."""

    last_step: int
    interrupted: bool
    seconds: float
