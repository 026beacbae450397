"""What can be said against a run without its model or its data: everything that the settings alone get wrong."""

from __future__ import annotations

from backprop.plan.decision import Problem, as_warning, warning
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.model import ModelFacts, ModelSource, TokenizerFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.ceiling import check_ceiling
from backprop.plan.training.evaluation import check_evaluation
from backprop.plan.training.facts import TrainFacts, plan_sequence_length
from backprop.plan.training.footprint import Parts, Place, Sequences, plan_parts, plan_run_optimizer
from backprop.plan.training.full import plan_full
from backprop.plan.training.full_precision import plan_full_compute
from backprop.plan.training.learning_rate import check_clamp, check_learning_rate, plan_learning_rate
from backprop.plan.training.length import DEFAULT_STEPS
from backprop.plan.training.mlx import check_mlx
from backprop.plan.training.mode import check_mode
from backprop.plan.training.objective import check_objective
from backprop.plan.training.packages import TRAIN_PACKAGES, check_packages
from backprop.plan.training.packing import may_pack
from backprop.plan.training.precision import check_quantized, plan_compute
from backprop.plan.training.rail import Rail
from backprop.plan.training.room import refuse_too_large
from backprop.plan.training.trackers import check_trackers


def check_always(
    settings: TrainSettings, facts: TrainFacts, rail: Rail | None, *, origins: Origins
) -> tuple[Problem, ...]:
    """What is checked of every run; ``rail`` is None when the one that is asked for cannot run."""
    parts = (facts.model, facts.data)
    return (
        *(part.problem for part in parts if isinstance(part, Absent)),
        *choose_tokenizer(settings, facts)[1],
        *((facts.output_absent.problem,) if facts.output_absent else ()),
        *_missing(settings, facts.software, rail, origins),
        *check_mlx(settings, facts.model, rail, origins=origins),
        *check_mode(settings, origins=origins),
        *check_objective(settings, origins=origins),
        *check_clamp(settings.training, origins=origins),
    )


def _missing(
    settings: TrainSettings, software: SoftwareFacts, rail: Rail | None, origins: Origins
) -> tuple[Problem, ...]:
    """The packages that executing takes and that are not here; a dry run, which takes none of them, is warned."""
    missing = () if rail is Rail.MLX else check_packages(software, TRAIN_PACKAGES)
    if rail is not None:
        missing = (*missing, *check_trackers(settings.training.report_to, rail, software, origins=origins))
    return tuple(as_warning(problem) for problem in missing) if settings.dry_run else missing


def check_undrafted(
    settings: TrainSettings, facts: TrainFacts, rail: Rail | None, *, origins: Origins
) -> tuple[Problem, ...]:
    """What :func:`check_draft` would find that needs no rows, and where the model is absent no model either.

    ``rail`` is None when the one that is asked for cannot run.
    """
    asked, model = settings.training, facts.model
    known = () if rail is None else _check_parts(settings, facts, rail, origins)
    steps = asked.max_steps or (DEFAULT_STEPS if asked.num_train_epochs is None else None)
    schedule = (
        ()
        if steps is None
        else check_learning_rate(
            asked, plan_learning_rate(asked, steps=steps, origins=origins), steps=steps, origins=origins
        )
    )
    return (
        *known,
        *(() if isinstance(model, Absent) else check_quantized(settings.model, model, origins=origins)),
        *schedule,
        *(check_evaluation(asked, None) if settings.data.eval_split is None else ()),
    )


def _check_parts(settings: TrainSettings, facts: TrainFacts, rail: Rail, origins: Origins) -> tuple[Problem, ...]:
    hardware, model = facts.hardware, facts.model
    count = facts.processes.count
    whole = plan_full(
        settings.training, rail=rail, hardware=hardware, precision=None, optimizer=None, num_processes=count
    ).problems
    if isinstance(model, Absent):
        plan_format = plan_full_compute if settings.training.mode is TrainMode.FULL else plan_compute
        parts = (
            plan_run_optimizer(settings, rail=rail, hardware=hardware, software=facts.software, origins=origins),
            plan_format(settings.model, settings.training, rail, hardware, origins),
        )
        return (*(part for part in parts if isinstance(part, Problem)), *whole)
    place = Place(model, hardware, facts.software, rail)
    decided = plan_parts(settings, place, origins=origins)
    return (*(() if isinstance(decided, Parts) else decided), *_check_ceiling(settings, place, origins), *whole)


def _check_ceiling(settings: TrainSettings, place: Place, origins: Origins) -> tuple[Problem, ...]:
    too_large = check_ceiling(settings.training, place.model, place.rail, place.hardware, origins=origins)
    if too_large is None:
        return ()
    longest = plan_sequence_length(
        settings.model, place.model, origins=origins, has_traces=settings.data.reasoning_trace
    ).value
    is_packed = may_pack(settings.data.packing, model=place.model, objective=settings.training.method, origins=origins)
    sequences = Sequences(longest, is_packed=is_packed)
    return (refuse_too_large(too_large, settings, place, None, sequences=sequences),)


def choose_tokenizer(settings: TrainSettings, facts: TrainFacts) -> tuple[TokenizerFacts | None, tuple[Problem, ...]]:
    """The tokenizer; a dry run of a model of which only the shape is known does without, and says so."""
    if not isinstance(facts.tokenizer, Absent):
        return facts.tokenizer, ()
    problem = facts.tokenizer.problem
    if not (settings.dry_run and _is_shape_only(facts.model)):
        return None, (problem,)
    message = f"Without the tokenizer the rows are counted but not tokenized: {problem.message}"
    return None, (warning(problem.code, message, where=problem.where, hint=problem.hint),)


def _is_shape_only(model: ModelFacts | Absent) -> bool:
    return not isinstance(model, Absent) and model.source is ModelSource.TABLE
