"""``backprop ollama rm``: remove a model from Ollama's server."""

from __future__ import annotations

from backprop.effects.export.ollama import connect
from backprop.plan.decision import Problem
from backprop.plan.export.ollama_models import OllamaRmReport
from backprop.plan.export.ollama_name import DEFAULT_TAG, parse_name
from backprop.plan.settings.nearest import nearest
from backprop.plan.settings.verbs.ollama_rm import OllamaRmSettings
from backprop.plan.wire.outcome import Outcome, ok, refused
from backprop.workflows.request import Request

COMMAND = "ollama rm"


def run(request: Request[OllamaRmSettings]) -> Outcome:
    """Remove the model; INPUT_VALIDATION_FAILED for a name that the server does not have."""
    name = parse_name(request.settings.name, where="NAME")
    if isinstance(name, Problem):
        return refused(COMMAND, (name, *request.warnings))
    ollama = connect()
    if ollama.delete(str(name)):
        return ok(COMMAND, OllamaRmReport(str(ollama.address), str(name)), warnings=request.warnings)
    there = {model.name.removesuffix(f":{DEFAULT_TAG}"): model.name for model in ollama.models()}
    close = nearest(str(name).removesuffix(f":{DEFAULT_TAG}"), tuple(there))
    hint = f"Did you mean {there[close]}?" if close else "See `backprop ollama list`."
    problem = Problem("INPUT_VALIDATION_FAILED", f"Ollama has no model {name}.", where="NAME", hint=hint)
    return refused(COMMAND, (problem, *request.warnings))
