"""One of several processes that is not the first: it computes its share, and neither writes nor tells."""

from __future__ import annotations

from pathlib import Path

from backprop.effects.executors import executor
from backprop.effects.files.token_store import RowSinks
from backprop.effects.train.task import TrainTask
from backprop.plan.facts.processes import Processes
from backprop.plan.training.evaluation import EvaluationState
from backprop.plan.training.plan import TrainPlan
from backprop.plan.wire.outcome import Outcome, ok
from backprop.workflows.request import ignore
from backprop.workflows.weights import weights_directory


def follow(command: str, plan: TrainPlan, *, rows: RowSinks, processes: Processes) -> Outcome:
    """Train with the first process, which says where, from which step and by which plan. Raises ``BackpropError``."""
    task = TrainTask(
        model_dir=str(weights_directory(plan.model)),
        staging_dir=Path(),
        rows=rows.train,
        heldout=rows.heldout,
        resume_from=None,
        evaluations=EvaluationState(),
        commit_checkpoint=_not_here,
        processes=processes,
    )
    executor(plan.rail.value, "train")(plan, task, emit=ignore)
    return ok(command, None)


def _not_here(staged: Path, step: int) -> Path:
    raise AssertionError(f"the first process commits checkpoints, not this one {staged} of step {step}")
