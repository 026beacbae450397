"""``backprop.Trainer``: the training workflow for Python programs, with the settings and the plans of the command."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs

from backprop.plan.decision import Problem, Refused, errors_among
from backprop.plan.errors import BackpropError
from backprop.plan.export.report import ExportReport
from backprop.plan.runs.report import DryRunReport, TrainReport
from backprop.plan.settings.nearest import nearest
from backprop.plan.settings.option import BoundOption, options_of
from backprop.plan.settings.resolve import Layer, Origins, Source, resolve
from backprop.plan.settings.verbs.export import ExportFormat, ExportSettings
from backprop.plan.settings.verbs.resume import ResumeSettings
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.plan import TrainPlan
from backprop.plan.wire.outcome import Outcome
from backprop.workflows import export, resume, train
from backprop.workflows.callbacks import Callbacks, log_warnings
from backprop.workflows.request import Request


class Trainer:
    """Fine-tunes one model. Settings have the names of the configuration keys: ``learning_rate=1e-4, r=16``.

    Only what is passed here counts; variables and configuration files are for the command. ``callbacks`` are functions
    that hear of the run; what one of them raises is logged and does not stop training. Warnings of a run are logged
    before it begins.

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
        self._made: str | None = None
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

    def export(
        self,
        format: ExportFormat | str = ExportFormat.LORA,
        *,
        output: str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> ExportReport:
        """Export what this trainer's last run made; ``settings`` have the names of the command's flags.

        Raises ``BackpropError`` with the refusal or with what ended the export, and when nothing was trained yet.
        """
        if self._made is None:
            message = "There is nothing to export: this trainer has finished no run."
            raise BackpropError(Problem("INPUT_VALIDATION_FAILED", message, hint="Call train() or resume() first."))
        values = {**settings, "path": self._made, "format": _word(format), "output": output and os.fspath(output)}
        bounds = options_of(ExportSettings)
        names = {bound.name for bound in bounds}
        if unknown := [_unknown(name, bounds, "export", _EXPORTS) for name in values if name not in names]:
            raise BackpropError(*unknown)
        known = {name: _word(value) for name, value in values.items() if value is not None}
        resolved = resolve(ExportSettings, [Layer(Source.CALL, "", known, typed=True)])
        if isinstance(resolved, Refused):
            raise BackpropError(*resolved.problems)
        outcome = export.run(Request(resolved.settings, resolved.origins, emit=self._callbacks))
        report = _report_of(outcome)
        log_warnings(outcome.problems)
        assert isinstance(report, ExportReport)
        return report

    def save(self, directory: str | os.PathLike[str]) -> ExportReport:
        """Write the adapter of the last run as a clean PEFT directory, or its model where every weight was trained."""
        is_model = self._made is not None and Path(self._made).name == "model"
        return self.export(ExportFormat.MERGED if is_model else ExportFormat.LORA, output=directory)

    def _told(self, work: Callable[[], Outcome]) -> TrainReport:
        try:
            report = _report_of(work())
        except BackpropError as error:
            self._callbacks.failed(error)
            raise
        assert isinstance(report, TrainReport)
        self._made = report.adapter or report.full_model
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
    bounds = [bound for bound in options_of(TrainSettings) if bound.group]
    keys = {bound.name: bound.key for bound in bounds}
    unknown = [_unknown(name, bounds) for name in values if name not in keys]
    known = {keys[name]: value for name, value in values.items() if name in keys and value is not None}
    resolved = resolve(TrainSettings, [Layer(Source.CALL, "", known, typed=True)])
    if isinstance(resolved, Refused):
        raise BackpropError(*unknown, *resolved.problems)
    if unknown:
        raise BackpropError(*unknown)
    return resolved.settings, resolved.origins


_SETTINGS = "docs/reference/settings.md lists them; the last part of a key is it."
_EXPORTS = "The flags of `backprop export` are it, with _ for -."


def _unknown(name: str, bounds: Iterable[BoundOption], whose: str = "Trainer", listed: str = _SETTINGS) -> Problem:
    """The hint knows a setting by its flag as well: ``lr`` is ``learning_rate`` here."""
    names = {spelled: bound.name for bound in bounds for spelled in (*_flag_words(bound), bound.name)}
    close = nearest(name, names)
    hint = f"Did you mean {names[close]}?" if close else listed
    return Problem("CONFIG_UNKNOWN_SETTING", f"{whose} has no setting {name}.", where=name, hint=hint)


def _flag_words(bound: BoundOption) -> tuple[str, ...]:
    return tuple(flag.removeprefix("--").replace("-", "_") for flag in bound.option.flags if flag.startswith("--"))


def _word(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


def _report_of(outcome: Outcome) -> Any:
    errors = errors_among(outcome.problems)
    if errors:
        raise BackpropError(*errors)
    return outcome.report
