"""``backprop data convert`` for a person."""

from __future__ import annotations

from backprop.cli.style import Style, printable
from backprop.plan.data.shown import ConvertReport


def show(report: ConvertReport, style: Style) -> str:
    """Where the rows stand now."""
    rows = "1 row" if report.rows_written == 1 else f"{report.rows_written:,} rows"
    return f"{style.green(rows)} from {report.layout_from} to {report.layout_to}: {printable(report.out)}"
