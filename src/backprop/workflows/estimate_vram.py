"""``backprop estimate-vram``: which runs of a model fit which card, before anything is downloaded."""

from __future__ import annotations

from backprop.effects.probe.hardware import observe_hardware
from backprop.effects.probe.model import observe_shape
from backprop.effects.probe.software import observe_software
from backprop.plan.decision import Refused
from backprop.plan.estimate.plan import EstimateFacts, plan_estimate
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.model import ModelFacts, ModelSource
from backprop.plan.settings.kinds import model_name
from backprop.plan.settings.verbs.estimate_vram import EstimateVramSettings
from backprop.plan.wire.outcome import Outcome, ok, refused
from backprop.workflows.request import Request

COMMAND = "estimate-vram"


def run(request: Request[EstimateVramSettings]) -> Outcome:
    """Look at the card and the model's shape, and answer; nothing is loaded."""
    settings = request.settings
    report = plan_estimate(settings, observe_estimate(settings), origins=request.origins)
    if isinstance(report, Refused):
        return refused(COMMAND, (*report.problems, *request.warnings))
    return ok(COMMAND, report, warnings=(*report.warnings, *request.warnings))


def observe_estimate(settings: EstimateVramSettings) -> EstimateFacts:
    """All that :func:`backprop.plan_estimate` wants to know of the world, for these settings."""
    return EstimateFacts(_model(model_name(settings.asked_model)), observe_hardware("."), observe_software())


def _model(name: str) -> ModelFacts | Absent:
    """The shape from the built-in table where it is known, which asks no network."""
    shape = ARCHITECTURES.get(name)
    return facts_from_config(shape, name=name, source=ModelSource.TABLE) if shape else observe_shape(name)
