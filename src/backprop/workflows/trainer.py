"""``backprop.Trainer``: the training workflow for Python programs, with the settings and the plans of the command."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import attrs

from backprop.plan.decision import Problem, Refused, errors_among
from backprop.plan.errors import BackpropError
from backprop.plan.runs.report import DryRunReport, TrainReport
from backprop.plan.settings.nearest import nearest
from backprop.plan.settings.option import options_of
from backprop.plan.settings.resolve import Layer, Origins, Source, resolve
from backprop.plan.settings.verbs.resume import ResumeSettings
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.plan import TrainPlan
from backprop.plan.wire.outcome import Outcome
from backprop.workflows import resume, train
from backprop.workflows.callbacks import Callbacks
from backprop.workflows.request import Request


class Trainer:
    """Fine-tunes one model. Settings have the names of the configuration keys: ``learning_rate=1e-4, r=16``.

    Only what is passed here counts; variables and configuration files are for the command. ``callbacks`` are functions
    that hear of the run; what one of them raises is logged and does not stop training.

    Raises ``BackpropError`` with every problem of the settings at once.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        on_step: Callable[[Any], object] | None = None,
        on_epoch: Callable[[int], object] | None = None,
        on_save: Callable[[Any], object] | None = None,
        on_complete: Callable[[TrainReport], object] | None = None,
        on_error: Callable[[BackpropError], object] | None = None,
        **settings: Any,
    ) -> None:
        self.settings, self._origins = _resolved({"name": os.fspath(model), **settings})
        self._callbacks = Callbacks(
            on_step=on_step, on_epoch=on_epoch, on_save=on_save, on_complete=on_complete, on_error=on_error
        )

    def plan(self, data: str | os.PathLike[str], *, steps: int | None = None) -> TrainPlan:
        """What :meth:`train` would do, decided without loading the model. Raises ``BackpropError`` with the refusal."""
        request = self._request(data, steps, dry_run=True)
        report = _report_of(train.run(request))
        assert isinstance(report, DryRunReport)
        return report.plan

    def train(self, data: str | os.PathLike[str], *, steps: int | None = None) -> TrainReport:
        """Plan and execute a run on a file or a Hub data set; the finished adapter is at ``report.adapter``,
        with ``mode="full"`` the model at ``report.full_model``.

        Raises ``BackpropError`` with the refusal or with what ended the run, RUNTIME_TRAINING_ABORTED for Ctrl-C.
        """
        return self._told(lambda: train.run(self._request(data, steps)))

    def resume(self, run_id: str, *, steps: int | None = None) -> TrainReport:
        """Continue a run of this trainer's ``output_dir`` from its last checkpoint, up to ``steps`` in all."""
        settings = ResumeSettings(output=self.settings.training, run_id=run_id, steps=steps)
        return self._told(lambda: resume.run(Request(settings, emit=self._callbacks)))

    def _told(self, work: Callable[[], Outcome]) -> TrainReport:
        try:
            report = _report_of(work())
        except BackpropError as error:
            self._callbacks.failed(error)
            raise
        assert isinstance(report, TrainReport)
        self._callbacks.completed(report)
        return report

    def _request(
        self, data: str | os.PathLike[str], steps: int | None, *, dry_run: bool = False
    ) -> Request[TrainSettings]:
        settings = attrs.evolve(
            self.settings, dry_run=dry_run, data=attrs.evolve(self.settings.data, dataset_name=os.fspath(data))
        )
        given, origins = settings, self._origins
        if steps is not None:
            checked, of_steps = _resolved({"max_steps": steps})
            training = attrs.evolve(settings.training, max_steps=checked.training.max_steps, num_train_epochs=None)
            given = attrs.evolve(settings, training=training)
            origins = Origins({**self._origins.by_key, **of_steps.by_key})
        return Request(given, origins, emit=self._callbacks)


def _resolved(values: dict[str, Any]) -> tuple[TrainSettings, Origins]:
    """Keyword arguments as settings. Raises ``BackpropError``."""
    keys = {bound.name: bound.key for bound in options_of(TrainSettings) if bound.group}
    unknown = [_unknown(name, keys) for name in values if name not in keys]
    known = {keys[name]: value for name, value in values.items() if name in keys and value is not None}
    resolved = resolve(TrainSettings, [Layer(Source.CALL, "", known, typed=True)])
    if isinstance(resolved, Refused):
        raise BackpropError(*unknown, *resolved.problems)
    if unknown:
        raise BackpropError(*unknown)
    return resolved.settings, resolved.origins


def _unknown(name: str, keys: dict[str, str]) -> Problem:
    close = nearest(name, keys)
    hint = f"Did you mean {close}?" if close else "docs/reference/settings.md lists them; the last part of a key is it."
    return Problem("CONFIG_UNKNOWN_SETTING", f"Trainer has no setting {name}.", where=name, hint=hint)


def _report_of(outcome: Outcome) -> Any:
    errors = errors_among(outcome.problems)
    if errors:
        raise BackpropError(*errors)
    return outcome.report
