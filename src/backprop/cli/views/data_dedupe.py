"""``backprop data dedupe`` for a person."""

from __future__ import annotations

from backprop.cli.style import Style, printable
from backprop.plan.data.shown import DedupeReport


def show(report: DedupeReport, style: Style) -> str:
    """How many rows stayed and went, and where that is written."""
    rows = [
        ("kept", f"{report.rows_kept:,}", printable(report.out)),
        ("removed as equal", f"{report.rows_equal:,}", printable(report.removed)),
        ("removed as similar", f"{report.rows_similar:,}", ""),
    ]
    return style.table(rows, right=(1,))
