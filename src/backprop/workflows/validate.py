"""``backprop validate``: every row of a data set judged before anything is trained on it."""

from __future__ import annotations

import os
from pathlib import Path

from backprop.effects.files.rows import check_file
from backprop.effects.probe.model import observe_model
from backprop.effects.probe.row_lengths import LengthCheck
from backprop.effects.probe.row_source import is_local, locate_dataset
from backprop.effects.probe.validation import BlockJudge, judge_rows, observe_layout
from backprop.plan.data.judge import RowJudge
from backprop.plan.data.layout import Layout
from backprop.plan.data.tally import Limits
from backprop.plan.data.validation import ValidationReport, make_report, verdict
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.facts.absent import Absent
from backprop.plan.settings.data import RowFormat
from backprop.plan.settings.idle import Lack, idle_flags
from backprop.plan.settings.verbs.validate import ValidateSettings
from backprop.plan.training.facts import sequence_length_of
from backprop.plan.wire.outcome import Outcome, Status, ok
from backprop.workflows.python_call import settings_of
from backprop.workflows.request import Request

COMMAND = "validate"


def run(request: Request[ValidateSettings]) -> Outcome:
    """Judge the rows; a data set with errors is a report and a problem."""
    report = _validate(request.settings)
    problems = verdict(report)
    warnings = (*_idle(request, report), *request.warnings)
    if problems:
        return Outcome(COMMAND, Status.FAILED, report, (*problems, *warnings))
    return ok(COMMAND, report, warnings=warnings)


def validate_dataset(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    max_errors: int = 100,
    max_samples: int | None = None,
    model: str | os.PathLike[str] | None = None,
    max_seq_length: int | None = None,
    text_column: str = "text",
    dataset_split: str = "train",
) -> ValidationReport:
    """What is wrong with the rows of a file or of a Hub data set, as ``backprop validate`` reports it.

    ``report.is_valid`` says whether there is no error; ``report.errors`` and ``report.warnings`` are the first
    findings, each with its line, key and remedy. Raises ``BackpropError`` when the data set cannot be read, or a
    value cannot be used (CONFIG_INVALID_SETTING).
    """
    settings = settings_of(
        ValidateSettings,
        dataset=path,
        format=format,
        max_errors=max_errors,
        max_samples=max_samples,
        model=model,
        max_seq_length=max_seq_length,
        text_column=text_column,
        dataset_split=dataset_split,
    )
    return _validate(settings)


def _idle(request: Request[ValidateSettings], report: ValidationReport) -> tuple[Problem, ...]:
    lacks = {Lack.MODEL: request.settings.model is None, Lack.SPLITS: is_local(report.dataset)}
    return idle_flags(request.origins, lacks)


def _validate(settings: ValidateSettings) -> ValidationReport:
    paths, name = locate_dataset(settings.dataset, settings.data.dataset_split, flag="DATASET")
    lengths = _length_check(settings)
    stamps = tuple(map(check_file, paths))
    detection = observe_layout(paths, text_column=settings.data.text_column, stamps=stamps)
    is_told = settings.format is RowFormat.AUTO
    layout = detection.layout if is_told else Layout(settings.format.value)
    judge = BlockJudge(RowJudge(layout, is_told, settings.data.text_column), lengths)
    tally = judge_rows(paths, judge, Limits(settings.max_errors, settings.max_samples), stamps=stamps)
    return make_report(tally, detection, layout, name=name)


def _length_check(settings: ValidateSettings) -> LengthCheck | None:
    if settings.model is None:
        if settings.max_seq_length is not None:
            message = "--max-seq-length counts tokens, and without a model there are none."
            raise BackpropError(
                Problem("INPUT_VALIDATION_FAILED", message, where="--max-seq-length", hint="Pass --model too.")
            )
        return None
    model = observe_model(settings.model)
    if isinstance(model, Absent):
        raise BackpropError(model.problem)
    if model.directory is None:
        assert model.files_absent is not None, "a model without files says why it has none"
        raise BackpropError(model.files_absent.problem)
    length = sequence_length_of(settings.max_seq_length, model)
    directory = str(Path(model.directory).absolute())
    return LengthCheck(directory, settings.data.chat_template, length)
