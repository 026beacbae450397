"""``backprop export`` for a person."""

from __future__ import annotations

from pathlib import PurePath

from backprop.cli.style import Style, printable
from backprop.plan.export.report import ExportReport
from backprop.plan.quantity import about, file_size


def show(report: ExportReport, style: Style) -> str:
    """Where it stands, how large it is, and what was proved."""
    lines = [f"{printable(report.output)}: {report.format.value}, {file_size(report.num_bytes)}"]
    lines[0] += f" in {about(report.seconds)}"
    rows = [(printable(PurePath(file.path).name), file_size(file.num_bytes)) for file in report.files]
    lines.append(style.table(rows, right=(1,)))
    lines += [f"verified: {check.name}, {check.result}" for check in report.checks]
    if report.untied:
        lines.append("The head and the embedding, one tensor in the base, are two now.")
    if report.ollama_name:
        instead = "   (in place of the model that had this name)" if report.ollama_replaced else ""
        lines.append(f"In Ollama: ollama run {printable(report.ollama_name)}{instead}")
    if report.pushed_to:
        lines.append(f"On the Hub: {printable(report.pushed_to)}")
    return "\n".join(lines)
