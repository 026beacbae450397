"""The judgements on a run's course: whether it is over, which step is handed over, how it is continued."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

import attrs

from backprop.plan.decision import Problem
from backprop.plan.errors import CATALOGUE, hint_for
from backprop.plan.runs.event_log import RecordedEvent, heldout_losses_of
from backprop.plan.settings.training import OutputSettings
from backprop.plan.training.evaluation import EvaluationState, should_stop
from backprop.plan.training.plan import TrainPlan


def evaluations_so_far(events: Iterable[RecordedEvent], *, extended: bool = False) -> EvaluationState:
    """What the evaluations have shown; who asks for more steps asks for more patience, too."""
    state = EvaluationState.after(heldout_losses_of(events))
    return attrs.evolve(state, since_best=0) if extended else state


def is_over(plan: TrainPlan, step: int, evaluations: EvaluationState) -> bool:
    """Whether nothing is left to train after ``step``: the last planned one, or one that stopped early."""
    stopped_early = plan.evaluation is not None and should_stop(evaluations, plan.evaluation)
    return step >= plan.length.steps.value or stopped_early


def step_to_hand_over(evaluations: EvaluationState, *, steps_done: int) -> int:
    """The best step by held-out loss, else the last."""
    return evaluations.best_step or steps_done


def resume_command(run_id: str, *, output_dir: str) -> str:
    """What the user types to go on."""
    where = "" if output_dir == OutputSettings().output_dir else f" --output {shlex.quote(output_dir)}"
    return f"backprop resume {run_id}{where}"


def interrupted(run_id: str, *, plan: TrainPlan, step: int, run_dir: str) -> Problem:
    """How a run ends that the user stopped."""
    return Problem(
        "RUNTIME_TRAINING_ABORTED",
        f"Run {run_id} was interrupted; {step} of {plan.length.steps.value} steps are saved.",
        where=run_dir,
        hint=f"Continue with `{resume_command(run_id, output_dir=plan.output_dir)}`.",
    )


def with_resume_hint(problem: Problem, run_id: str, *, output_dir: str) -> Problem:
    """The problem with the way on behind its own hint, when trying again may help."""
    if not CATALOGUE[problem.code].retryable:
        return problem
    command = resume_command(run_id, output_dir=output_dir)
    return attrs.evolve(problem, hint=f"{hint_for(problem)} Then continue with `{command}`.")
