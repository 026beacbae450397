"""``backprop ollama shelf``: the adapters on one of Ollama's models."""

from __future__ import annotations

from backprop.effects.export.ollama import Ollama, connect
from backprop.plan.decision import Problem
from backprop.plan.export.ollama_models import OllamaModel, OllamaShelfReport
from backprop.plan.export.ollama_name import OllamaName, is_on_shelf, parse_name
from backprop.plan.settings.verbs.ollama_shelf import OllamaShelfSettings
from backprop.plan.wire.outcome import Outcome, ok, refused
from backprop.workflows.request import Request

COMMAND = "ollama shelf"


def run(request: Request[OllamaShelfSettings]) -> Outcome:
    """List the base's tags that have an adapter; ``llama3.2:1b``, a base like any other, has none."""
    base = parse_name(request.settings.base_model, where="BASE")
    if isinstance(base, Problem):
        return refused(COMMAND, (base, *request.warnings))
    ollama = connect()
    adapters = tuple(model for model in ollama.models() if _is_on_shelf(model, base, ollama))
    report = OllamaShelfReport(str(ollama.address), request.settings.base_model, adapters)
    return ok(COMMAND, report, warnings=request.warnings)


def _is_on_shelf(model: OllamaModel, base: OllamaName, ollama: Ollama) -> bool:
    name = parse_name(model.name)
    if isinstance(name, Problem) or not is_on_shelf(name, base):
        return False
    shown = ollama.show(model.name)
    return shown is not None and bool(shown.adapters)
