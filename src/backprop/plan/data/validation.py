"""What ``backprop validate`` says of a data set."""

from __future__ import annotations

import attrs

from backprop.plan.data.check import CHECKS, Check, Finding
from backprop.plan.data.layout import Detection, Layout
from backprop.plan.data.tally import Tally, file_findings, is_error
from backprop.plan.decision import Problem, Severity


@attrs.frozen
class CheckCount:
    """How often a check failed."""

    check: Check
    severity: Severity
    count: int
    meaning: str
    fix: str


@attrs.frozen
class ValidationReport:
    """A data set judged row by row. It is valid when there is no error; warnings are worth a look."""

    dataset: str
    """As it was given; for a file the absolute path."""
    format_detected: Layout | None
    """The layout of the first rows; None when it is not known."""
    format_confidence: float
    """The share of the first rows that are in it."""
    format: Layout | None
    """The layout that the rows were read by: the one asked for, else the one detected."""
    total_samples: int
    """Rows judged, those that cannot be read included."""
    invalid_samples: int
    """Rows with an error."""
    complete: bool
    """All rows that were asked for were judged; False when judging stopped at the greatest number of errors before."""
    is_valid: bool
    checks: tuple[CheckCount, ...]
    """Every check that failed, errors first, most first."""
    errors: tuple[Finding, ...]
    """The first errors, in the order of the file."""
    warnings: tuple[Finding, ...]
    """The first warnings, in the order of the file."""

    @property
    def num_errors(self) -> int:
        """All errors that were counted."""
        return sum(c.count for c in self.checks if c.severity is Severity.ERROR)

    @property
    def num_warnings(self) -> int:
        """All warnings that were counted."""
        return sum(c.count for c in self.checks if c.severity is Severity.WARNING)


def make_report(tally: Tally, detection: Detection, layout: Layout | None, *, name: str) -> ValidationReport:
    """The report over all rows that were judged."""
    of_file = file_findings(tally, layout, name=name)
    counts = dict(tally.counts)
    for finding in of_file:
        counts[finding.check] = counts.get(finding.check, 0) + 1
    in_order = sorted(counts.items(), key=lambda item: (not is_error(item[0]), -item[1], item[0].value))
    return ValidationReport(
        dataset=name,
        format_detected=detection.layout,
        format_confidence=round(detection.confidence, 4),
        format=layout,
        total_samples=tally.num_rows,
        invalid_samples=tally.num_error_rows,
        complete=not tally.is_stopped,
        is_valid=not any(is_error(check) for check in counts),
        checks=tuple(_counted(check, count) for check, count in in_order),
        errors=(*tally.errors, *(finding for finding in of_file if finding.severity is Severity.ERROR)),
        warnings=(*(finding for finding in of_file if finding.severity is Severity.WARNING), *tally.warnings),
    )


def _counted(check: Check, count: int) -> CheckCount:
    entry = CHECKS[check]
    return CheckCount(check, entry.severity, count, entry.meaning, entry.fix)


def verdict(report: ValidationReport) -> tuple[Problem, ...]:
    """The problem that a data set with errors is; empty for one that is valid.

    Lines that are no UTF-8 are a fault of the file (exit code 1), everything else of the data (65).
    """
    if report.is_valid:
        return ()
    found = {count.check: count.count for count in report.checks}
    first = report.errors[0]
    rows = f"{report.invalid_samples:,} of {report.total_samples:,} rows"
    hint = f"Fix the rows named, beginning with {first.where}."
    if Check.ENCODING in found:
        message = f"{report.dataset} has lines that are not UTF-8 text ({found[Check.ENCODING]:,} of them)."
        return (Problem("INPUT_DATASET_PARSE_FAILED", message, where=first.where, hint=CHECKS[Check.ENCODING].fix),)
    of_file = [finding for finding in report.errors if finding.line is None]
    if not report.invalid_samples and of_file:
        message = f"{report.dataset} has {len(of_file)} error of the file as a whole: {first.message}."
        return (Problem("INPUT_DATASET_VALIDATION_FAILED", message, where=first.where, hint=first.fix),)
    message = f"{report.dataset} has errors in {rows}{'' if report.complete else ', and was not read further'}."
    return (Problem("INPUT_DATASET_VALIDATION_FAILED", message, where=first.where, hint=hint),)
