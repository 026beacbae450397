"""``backprop ollama list``: the models of Ollama's server."""

from __future__ import annotations

from backprop.effects.export.ollama import connect
from backprop.plan.export.ollama_models import OllamaListReport
from backprop.plan.settings.verbs.ollama_list import OllamaListSettings
from backprop.plan.wire.outcome import Outcome, ok
from backprop.workflows.request import Request


def run(request: Request[OllamaListSettings]) -> Outcome:
    """List the models. Raises DEP_OLLAMA_UNAVAILABLE."""
    ollama = connect()
    return ok("ollama list", OllamaListReport(str(ollama.address), ollama.models()), warnings=request.warnings)
