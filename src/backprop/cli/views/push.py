"""``backprop push`` for a person."""

from __future__ import annotations

from backprop.cli.style import Style, printable
from backprop.plan.export.push import PushReport
from backprop.plan.quantity import file_size

_NUM_SHOWN = 8


def show(report: PushReport, style: Style) -> str:
    """Where it stands, and what stayed here."""
    what = f"the {report.kind.value}, {len(report.files)} files ({file_size(report.num_bytes)})"
    url = style.bold(printable(report.url))
    lines = [
        f"Pushed {what}, to {url}" if report.changed else f"Nothing to push: {url} has {what}, already.",
        style.dim(f"commit {report.commit[:12]} on {printable(report.revision)}"),
    ]
    if report.left_out:
        more = len(report.left_out) - _NUM_SHOWN
        names = ", ".join(map(printable, report.left_out[:_NUM_SHOWN])) + (f" and {more} more" if more > 0 else "")
        lines.append(f"Not pushed: {names}.")
    return "\n".join(lines)
