"""``backprop completion``: the script as it is."""

from __future__ import annotations

from backprop.cli.style import Style
from backprop.workflows.completion import CompletionReport


def show(report: CompletionReport, style: Style) -> str:  # noqa: ARG001  a script has no style
    """The script."""
    return report.script
