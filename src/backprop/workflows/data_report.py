"""``backprop data report``: what a data set is like, before anything is trained on it."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from backprop.effects.files.atomic import write_atomic
from backprop.effects.files.output_path import check_output
from backprop.effects.probe.model import observe_model
from backprop.effects.probe.quality_scan import Scan, scan_quality
from backprop.effects.probe.row_quality import RowMeter, Tokens
from backprop.effects.probe.row_source import is_local, locate_dataset
from backprop.plan.data.layout import Layout
from backprop.plan.data.page import quality_page
from backprop.plan.data.quality import Gates
from backprop.plan.data.quality_report import DataReport, make_report, report_warnings
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.events import Stage
from backprop.plan.facts.absent import Absent
from backprop.plan.settings.data import RowFormat
from backprop.plan.settings.idle import Lack, idle_flags
from backprop.plan.settings.verbs.data_report import DataReportSettings
from backprop.plan.wire.outcome import Outcome, Status, ok
from backprop.workflows.python_call import settings_of
from backprop.workflows.request import Emit, Request, ignore

COMMAND = "data report"


def run(request: Request[DataReportSettings]) -> Outcome:
    """Scan, judge, write the page; a tripped gate is a report and a problem."""
    settings = request.settings
    report, problems = _report(settings, request.emit)
    if settings.html is not None:
        report, unwritten = _write_page(report, Path(settings.html).expanduser().absolute())
        problems = (*problems, *unwritten)
    warnings = (*report_warnings(report), *_idle(request, report), *request.warnings)
    if problems:
        return Outcome(COMMAND, Status.FAILED, report, (*problems, *warnings))
    return ok(COMMAND, report, warnings=warnings)


def analyze_dataset(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    against: str | os.PathLike[str] | None = None,
    max_samples: int | None = None,
    dup_threshold: float = 0.9,
    fail_on_dups: float | None = None,
    fail_on_contamination: float | None = None,
    max_outlier_rate: float | None = None,
    strict: bool = False,
    model: str | os.PathLike[str] | None = None,
    text_column: str = "text",
    dataset_split: str = "train",
) -> DataReport:
    """The quality of a file or of a Hub data set, as ``backprop data report`` tells it.

    ``report.verdict`` is PASS, WARN or FAIL, and ``report.failed_thresholds`` says why it is FAIL: a gate that trips is
    part of the report and raises nothing. Raises ``BackpropError`` when a data set cannot be read, or a value cannot
    be used.
    """
    settings = settings_of(
        DataReportSettings,
        dataset=path,
        format=format,
        against=against,
        max_samples=max_samples,
        dup_threshold=dup_threshold,
        fail_on_dups=fail_on_dups,
        fail_on_contamination=fail_on_contamination,
        max_outlier_rate=max_outlier_rate,
        strict=strict,
        model=model,
        text_column=text_column,
        dataset_split=dataset_split,
    )
    return _report(settings, ignore)[0]


def _write_page(report: DataReport, path: Path) -> tuple[DataReport, tuple[Problem, ...]]:
    """The report that names its page, or the one that could not be written down and why."""
    told = attrs.evolve(report, html=str(path))
    try:
        write_atomic(path, quality_page(told))
    except BackpropError as error:
        return report, tuple(attrs.evolve(problem, where="--html") for problem in error.problems)
    return told, ()


def _report(settings: DataReportSettings, emit: Emit) -> tuple[DataReport, tuple[Problem, ...]]:
    if settings.fail_on_contamination is not None and settings.against is None:
        message = "--fail-on-contamination checks nothing without --against."
        hint = "Pass --against FILE, the held-out rows."
        raise BackpropError(Problem("CONFIG_INVALID_SETTING", message, where="--fail-on-contamination", hint=hint))
    split = settings.data.dataset_split
    paths, name = locate_dataset(settings.dataset, split, flag="DATASET")
    against: tuple[Path, ...] = ()
    against_name = ""
    if settings.against is not None:
        against, against_name = locate_dataset(settings.against, split, flag="--against")
    if settings.html is not None:
        config = () if settings.config is None else (Path(settings.config).expanduser(),)
        check_output(Path(settings.html).expanduser(), flag="--html", dataset=paths, read=(*against, *config))
    scan = Scan(
        paths=paths,
        name=name,
        layout=None if settings.format is RowFormat.AUTO else Layout(settings.format.value),
        text_column=settings.data.text_column,
        dup_threshold=settings.dup_threshold,
        against=against,
        against_name=against_name,
        max_rows=settings.max_samples,
        meter=RowMeter(_tokens(settings)),
    )
    gates = Gates(
        fail_on_dups=settings.fail_on_dups,
        fail_on_contamination=settings.fail_on_contamination,
        max_outlier_rate=settings.max_outlier_rate,
        strict=settings.strict,
    )
    return make_report(scan_quality(scan, tell=lambda stage: emit(Stage(stage))), gates)


def _tokens(settings: DataReportSettings) -> Tokens | None:
    if settings.model is None:
        return None
    model = observe_model(settings.model)
    if isinstance(model, Absent):
        raise BackpropError(model.problem)
    if model.directory is None:
        assert model.files_absent is not None, "a model without files says why it has none"
        raise BackpropError(model.files_absent.problem)
    return Tokens(settings.model, str(Path(model.directory).absolute()), settings.data.chat_template)


def _idle(request: Request[DataReportSettings], report: DataReport) -> tuple[Problem, ...]:
    settings = request.settings
    names = [report.dataset] if report.contamination is None else [report.dataset, report.contamination.against_path]
    lacks = {
        Lack.MODEL: settings.model is None,
        Lack.HELD_OUT: settings.against is None,
        Lack.SPLITS: all(map(is_local, names)),
    }
    return idle_flags(request.origins, lacks)
