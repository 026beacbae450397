"""The settings of a recorded run, for looking at the same world again."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Problem, Refused
from backprop.plan.facts.model import ModelSource
from backprop.plan.redaction import MASK
from backprop.plan.runs.record import RunRecord
from backprop.plan.settings.resolve import Layer, Origin, Origins, Source, resolve
from backprop.plan.settings.verbs.train import TrainSettings

_KEPT_IN_THE_PLAN = ("model.name", "data.dataset_name", "training.output_dir")


def settings_of(record: RunRecord) -> TrainSettings | Refused:
    """What the run was asked for; model and data by the absolute paths that were found for them.

    Refused when a recorded setting cannot be read by this version, or was masked because it looks like a secret.
    """
    texts = {setting.key: setting.text for setting in record.settings if setting.key not in _KEPT_IN_THE_PLAN}
    masked = [key for key, text in texts.items() if MASK in text]
    resolved = resolve(TrainSettings, [Layer(Source.FLAG, "", texts)])
    if masked:
        return Refused(tuple(_unreadable(record, f"{key} was masked, since it looks like a secret") for key in masked))
    if isinstance(resolved, Refused):
        return Refused(tuple(_unreadable(record, problem.message) for problem in resolved.problems))
    settings = resolved.settings
    model, data = record.plan.model, record.plan.data.train
    name = model.directory if model.source is ModelSource.DIRECTORY and model.directory else model.name
    return attrs.evolve(
        settings,
        model=attrs.evolve(settings.model, name=name),
        data=attrs.evolve(settings.data, dataset_name=data.name),
        training=attrs.evolve(settings.training, output_dir=record.plan.output_dir),
    )


def origins_of(record: RunRecord) -> Origins:
    """Where the run's settings came from."""
    return Origins({setting.key: Origin(setting.source, setting.name) for setting in record.settings})


def _unreadable(record: RunRecord, why: str) -> Problem:
    return Problem(
        "INPUT_RESUME_NOT_FOUND",
        f"A setting of run {record.run_id} cannot be read back: {why}",
        where=record.run_id,
        hint="Start a new run with the same settings.",
    )
