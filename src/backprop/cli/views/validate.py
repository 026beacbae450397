"""``backprop validate`` for a person: the verdict, the layout, the counts, then the findings check by check."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backprop.cli.style import Style, printable
from backprop.plan.data.check import Finding
from backprop.plan.data.validation import CheckCount, ValidationReport
from backprop.plan.decision import Severity


def show(report: ValidationReport, style: Style) -> str:
    """The verdict on the first line; nothing more than the layout for a data set without findings."""
    parts = [f"{_verdict(report, style)}\n{_layout(report, style)}"]
    if report.checks:
        parts.append(_counts(report.checks, style))
    parts += _findings(report, style)
    return "\n\n".join(parts)


def _verdict(report: ValidationReport, style: Style) -> str:
    name = printable(report.dataset)
    rows = _many(report.total_samples, "row")
    warnings = f", {_many(report.num_warnings, 'warning')}" if report.num_warnings else ""
    if report.is_valid:
        return f"{style.green('Valid')}: {name}, {rows} checked{warnings}"
    place = f"in {report.invalid_samples:,} of {rows}" if report.invalid_samples else f"of the file as a whole, {rows}"
    bad = f"{_many(report.num_errors, 'error')} {place}"
    stopped = "" if report.complete else f"; stopped there, --max-errors {len(report.errors)}"
    return f"{style.red('Not valid')}: {name}, {bad}{warnings}{stopped}"


def _layout(report: ValidationReport, style: Style) -> str:
    told = report.format_detected
    if told is None:
        return f"Layout: {style.yellow('not known')} from the first rows{_asked(report)}"
    return f"Layout: {style.cyan(told.value)}, in {report.format_confidence:.0%} of the first rows{_asked(report)}"


def _asked(report: ValidationReport) -> str:
    return "" if report.format in (None, report.format_detected) else f"; read as {report.format.value}"


def _counts(checks: Sequence[CheckCount], style: Style) -> str:
    rows = [(_painted(c.check.value, c.severity, style), f"{c.count:,}", c.meaning) for c in checks]
    return style.table(rows, header=("check", "found", "meaning"), right=(1,))


def _findings(report: ValidationReport, style: Style) -> Iterator[str]:
    listed = (*report.errors, *report.warnings)
    for count in report.checks:
        of_check = [finding for finding in listed if finding.check is count.check]
        if not of_check:
            continue
        title = f"{_painted(count.check.value, count.severity, style)}: {count.fix}"
        lines = [_finding(finding, style) for finding in of_check]
        more = count.count - len(of_check)
        lines += [style.dim(f"  and {more:,} more")] if more else []
        yield "\n".join((style.wrap(title), *lines))


def _finding(finding: Finding, style: Style) -> str:
    key = f"  {printable(finding.key)}" if finding.key else ""
    shown = f"  {style.dim(f'“{printable(finding.excerpt)}”')}" if finding.excerpt else ""
    return f"  {printable(finding.where)}{key}  {printable(finding.message)}{shown}"


def _painted(text: str, severity: Severity, style: Style) -> str:
    return style.red(text) if severity is Severity.ERROR else style.yellow(text)


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
