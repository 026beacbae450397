"""``backprop ollama register`` for a person."""

from __future__ import annotations

from backprop.cli.style import Style, printable
from backprop.cli.views.ollama_list import size
from backprop.plan.export.ollama_models import OllamaRegisterReport


def show(report: OllamaRegisterReport, style: Style) -> str:
    """What stands in Ollama now, and how to talk to it."""
    name = printable(report.name)
    built = f", an adapter on {printable(report.base or 'its own base')}" if report.adapter else ""
    verb = "Replaced" if report.replaced else "Registered"
    sent = f"{size(report.uploaded_bytes)} uploaded" if report.uploaded_bytes else "nothing had to be uploaded"
    stops = f"; answers end at {', '.join(map(printable, report.stop))}" if report.stop else ""
    return (
        f"{verb} {style.bold(name)}{built} from {printable(report.path)}.\n"
        f"{style.dim(f'{sent}{stops}')}\nTalk to it: ollama run {name.removesuffix(':latest')}"
    )
