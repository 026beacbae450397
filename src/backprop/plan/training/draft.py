"""Every part of a run as it would be, whether or not it can be run, and what stands against it."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Decision, Problem, warning
from backprop.plan.facts.dataset import DataFacts
from backprop.plan.facts.processes import Processes
from backprop.plan.settings.data import DataSettings
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.batch import BatchPlan, plan_update
from backprop.plan.training.ceiling import check_ceiling
from backprop.plan.training.checkpoints import CheckpointPlan, check_disk, checkpoint_bytes, plan_checkpoints
from backprop.plan.training.evaluation import EvaluationPlan, check_evaluation, plan_evaluation
from backprop.plan.training.footprint import Footprint, Place, Sequences, plan_footprint
from backprop.plan.training.full import FullPlan, plan_full
from backprop.plan.training.learning_rate import (
    LearningRatePlan,
    check_learning_rate,
    plan_learning_rate,
)
from backprop.plan.training.length import LengthPlan, plan_length
from backprop.plan.training.objective import ObjectivePlan, check_coefficients, plan_objective
from backprop.plan.training.packing import check_packing
from backprop.plan.training.parallel import check_processes
from backprop.plan.training.precision import check_quantized
from backprop.plan.training.room import check_room, refuse_too_large
from backprop.plan.training.sequences import heldout_sequences, plan_sequences
from backprop.plan.training.targets import check_targets
from backprop.plan.training.unsloth import plan_unsloth

_BROKEN_SHOWN = 3
"""Rows that cannot be used which a refusal names; the others are counted."""


@attrs.frozen
class Draft:
    """A run that is decided as far as it can be: a footprint that cannot be had leaves its problems in its place."""

    footprint: Footprint | tuple[Problem, ...]
    sequences: Sequences
    batch: BatchPlan
    length: LengthPlan
    learning_rate: LearningRatePlan
    evaluation: EvaluationPlan | None
    checkpoints: CheckpointPlan
    full: FullPlan
    objective: ObjectivePlan
    unsloth: Decision[bool] | None

    @property
    def known(self) -> Footprint | None:
        """The footprint, if there is one."""
        return self.footprint if isinstance(self.footprint, Footprint) else None


def draft_run(
    settings: TrainSettings, place: Place, data: DataFacts, *, processes: Processes, origins: Origins
) -> Draft:
    """Decide each part from those before it: batch, footprint, length, rate, evaluation, checkpoints."""
    asked = settings.training
    whole = plan_update(asked, rail=place.rail, hardware=place.hardware, objective=asked.method, origins=origins)
    update = whole.divided(processes.count)
    unsloth = plan_unsloth(settings, place.rail, place.software, processes=processes.count, origins=origins)
    shape = plan_sequences(
        settings,
        place,
        data=data,
        update=update,
        uses_unsloth=unsloth is not None and unsloth.value,
        origins=origins,
    )
    sequences = shape.for_memory(data)
    footprint = plan_footprint(settings, place, update=update, sequences=sequences, origins=origins)
    known = footprint if isinstance(footprint, Footprint) else None
    batch = shape.batch(update, known.fit if known else None)
    length = plan_length(asked, data=data.train, batch=batch, origins=origins)
    steps = length.steps.value
    return Draft(
        footprint=footprint,
        sequences=sequences,
        batch=batch,
        length=length,
        learning_rate=plan_learning_rate(asked, steps=steps, origins=origins),
        evaluation=plan_evaluation(asked, heldout_rows=heldout_sequences(data), steps=steps, origins=origins),
        checkpoints=plan_checkpoints(
            asked, origins=origins, num_bytes=checkpoint_bytes(known.workload, known.adapter) if known else None
        ),
        full=plan_full(
            asked,
            rail=place.rail,
            hardware=place.hardware,
            precision=known.precision if known else None,
            optimizer=known.optimizer.value if known else None,
            num_processes=processes.count,
        ),
        objective=plan_objective(asked, data.train, origins=origins),
        unsloth=unsloth,
    )


def check_draft(
    draft: Draft,
    settings: TrainSettings,
    place: Place,
    data: DataFacts,
    *,
    processes: Processes,
    origins: Origins,
) -> tuple[Problem, ...]:
    """Everything that stands against the run, and what is worth a warning."""
    asked, steps = settings.training, draft.length.steps.value
    return (
        *(draft.footprint if isinstance(draft.footprint, tuple) else draft.footprint.notes),
        *_check_size(draft, settings, place, data, origins),
        *draft.full.problems,
        *check_processes(
            processes, settings, rail=place.rail, hardware=place.hardware, effective=draft.batch.effective
        ),
        *check_disk(
            draft.checkpoints,
            steps=steps,
            num_evaluations=draft.evaluation.count(steps) if draft.evaluation else 0,
            hardware=place.hardware,
        ),
        *check_packing(draft.batch.packing, place.model, origins=origins),
        *_broken_rows(data, settings.data),
        *(
            problem
            for part in (data.train, data.heldout)
            if part is not None
            for problem in check_targets(
                part, settings.data, sequence_length=draft.batch.sequence_length.value, objective=asked.method
            )
        ),
        *check_quantized(settings.model, place.model, origins=origins),
        *check_learning_rate(asked, draft.learning_rate, steps=steps, origins=origins),
        *check_evaluation(asked, draft.evaluation),
        *check_coefficients(draft.objective, data.train, origins=origins),
    )


def _check_size(
    draft: Draft, settings: TrainSettings, place: Place, data: DataFacts, origins: Origins
) -> tuple[Problem, ...]:
    """One refusal for a model that is too large: by its parameters, or else by its memory."""
    sequences = draft.sequences
    if draft.known is not None:
        too_large = draft.known.too_large
    else:
        too_large = check_ceiling(settings.training, place.model, place.rail, place.hardware, origins=origins)
    if too_large is not None:
        return (refuse_too_large(too_large, settings, place, draft.known, sequences=sequences, data=data),)
    return check_room(settings, place, draft.known, sequences=sequences, data=data) if draft.known else ()


def _broken_rows(data: DataFacts, settings: DataSettings) -> tuple[Problem, ...]:
    """The first rows that cannot be used; one warning where they may be left out."""
    parts = [part for part in (data.train, data.heldout) if part is not None]
    num_broken, rows = sum(part.num_broken for part in parts), sum(part.rows for part in parts)
    if num_broken and (settings.skip_bad_rows or num_broken <= settings.max_bad_share * rows) and num_broken < rows:
        example = next(problem for part in parts for problem in part.broken)
        message = f"{num_broken:,} of {rows:,} rows cannot be used and are left out, such as {example.message}"
        return (warning("INPUT_DATASET_INVALID", message, hint=_LISTED),)
    shown = tuple(problem for part in parts for problem in part.broken)[:_BROKEN_SHOWN]
    if num_broken and settings.max_bad_share:
        shown = (_too_many(num_broken, rows, settings.max_bad_share), *shown)
    more = num_broken - min(num_broken, _BROKEN_SHOWN)
    if not more:
        return shown
    message = f"And {more:,} more {'row' if more == 1 else 'rows'} that cannot be used."
    hint = _LISTED if settings.skip_bad_rows else f"{_LISTED} --skip-bad-rows leaves them out."
    return (*shown, Problem("INPUT_DATASET_INVALID", message, hint=hint))


def _too_many(num_broken: int, rows: int, allowed: float) -> Problem:
    message = (
        f"{num_broken:,} of {rows:,} rows cannot be used: {num_broken / rows:.4g} of them, and {allowed:g} may be."
    )
    return Problem("INPUT_DATASET_INVALID", message, where="--max-bad-share", hint=_LISTED)


_LISTED = "`backprop validate` lists them, each with its line, its key and what to do."
