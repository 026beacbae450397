"""Questions to ``estimate-vram``, asked as on the command line, of worlds that are made up."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from backprop.cli.arguments import parse_arguments
from backprop.plan.decision import Refused
from backprop.plan.estimate.plan import EstimateFacts, plan_estimate
from backprop.plan.estimate.report import EstimateReport, Way
from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts, ModelSource
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.settings.resolve import Layer, Resolved, resolve
from backprop.plan.settings.verbs.estimate_vram import EstimateVramSettings
from tests.plan.training.worlds import CPU_MACHINE

LARGE_MACHINE = attrs.evolve(CPU_MACHINE, ram_total_bytes=1 << 40, ram_available_bytes=1 << 40)
INSTALLED = SoftwareFacts("3.11", (("bitsandbytes", "0.50"),))


def answer(
    *words: str,
    hardware: HardwareFacts = CPU_MACHINE,
    software: SoftwareFacts = INSTALLED,
    layers: Sequence[Layer] = (),
    model: ModelFacts | None = None,
) -> EstimateReport | Refused:
    """What ``backprop estimate-vram`` with these words answers on the machine, under what weaker ``layers`` say."""
    arguments = parse_arguments(("estimate-vram", *words))
    assert not arguments.problems
    asked = resolve(EstimateVramSettings, [arguments.flags, *layers])
    assert isinstance(asked, Resolved), asked
    name = asked.settings.asked_model
    model = model or facts_from_config(ARCHITECTURES[name], name=name, source=ModelSource.TABLE)
    return plan_estimate(asked.settings, EstimateFacts(model, hardware, software), origins=asked.origins)


def estimated(
    *words: str,
    hardware: HardwareFacts = CPU_MACHINE,
    software: SoftwareFacts = INSTALLED,
    layers: Sequence[Layer] = (),
    model: ModelFacts | None = None,
) -> EstimateReport:
    """The report, which must not be a refusal."""
    report = answer(*words, hardware=hardware, software=software, layers=layers, model=model)
    assert isinstance(report, EstimateReport), report
    return report


def way(report: EstimateReport, name: str) -> Way:
    """The way to train of that name."""
    (found,) = (way for way in report.ways if way.name == name)
    return found
