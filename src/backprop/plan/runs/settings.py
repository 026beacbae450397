"""The settings of a recorded run, for looking at the same world again."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Refused
from backprop.plan.facts.model import ModelSource
from backprop.plan.runs.record import RunRecord
from backprop.plan.settings.resolve import Layer, Source, resolve
from backprop.plan.settings.verbs.train import TrainSettings


def settings_of(record: RunRecord) -> TrainSettings:
    """What the run was asked for; model and data by the absolute paths that were found for them.

    Raises ``ValueError`` when a recorded setting is none that this version knows how to read.
    """
    given = Layer(Source.FLAG, "", {setting.key: setting.text for setting in record.settings})
    resolved = resolve(TrainSettings, [given])
    if isinstance(resolved, Refused):
        raise ValueError("; ".join(problem.message for problem in resolved.problems))
    settings = resolved.settings
    model, data = record.plan.model, record.plan.data.train
    name = model.directory if model.source is ModelSource.DIRECTORY and model.directory else model.name
    return attrs.evolve(
        settings,
        model=attrs.evolve(settings.model, name=name),
        data=attrs.evolve(settings.data, dataset_name=data.name),
        training=attrs.evolve(settings.training, output_dir=record.plan.output_dir),
    )
