"""``backprop config`` for a person."""

from __future__ import annotations

from backprop.cli.style import Style
from backprop.plan.settings.resolve import Source
from backprop.workflows.config import ConfigReport, ShownSetting


def show(report: ConfigReport, style: Style) -> str:
    """The sentence of what was changed, and the table of settings when it was asked for."""
    if not report.settings:
        return report.changed
    rows = [(style.cyan(s.key), _value(s, style), _origin(s, style)) for s in report.settings]
    table = style.table(rows, header=("setting", "value", "from"))
    return "\n\n".join(part for part in (report.changed, table, f"Your file: {report.user_file}") if part)


def _value(setting: ShownSetting, style: Style) -> str:
    if setting.value is None:
        return style.dim(f"({setting.unset or 'unset'})")
    if isinstance(setting.value, bool):
        return "true" if setting.value else "false"
    return ",".join(setting.value) if isinstance(setting.value, list) else str(setting.value)


def _origin(setting: ShownSetting, style: Style) -> str:
    return style.dim("default") if setting.source is Source.DEFAULT else setting.origin
