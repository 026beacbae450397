"""Fine-tune language models on the hardware you have: the plan is printed, then executed.

The public names are those in ``__all__``; each is imported when it is first used, so that ``import backprop`` costs
next to nothing, and none of them loads torch before a run begins.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backprop.plan.decision import Decision, Problem, Refused, Severity
    from backprop.plan.errors import CATALOGUE, BackpropError
    from backprop.plan.events import Event
    from backprop.plan.facts.dataset import DataFacts, DatasetFacts
    from backprop.plan.facts.hardware import HardwareFacts
    from backprop.plan.facts.model import ModelFacts, TokenizerFacts
    from backprop.plan.facts.software import SoftwareFacts
    from backprop.plan.generation.plan import GenerationPlan, plan_generation
    from backprop.plan.runs.report import TrainReport
    from backprop.plan.runs.resume import ResumePlan, plan_resume
    from backprop.plan.settings.resolve import Origins
    from backprop.plan.settings.verbs.generate import GenerateSettings
    from backprop.plan.settings.verbs.resume import ResumeSettings
    from backprop.plan.settings.verbs.train import TrainSettings
    from backprop.plan.training.facts import TrainFacts
    from backprop.plan.training.fingerprint import fingerprint
    from backprop.plan.training.plan import TrainPlan, extend_plan, plan_train
    from backprop.plan.wire.converter import from_data, to_data
    from backprop.workflows.trainer import Trainer

__version__ = "0.1.0"

_HOMES = {
    "CATALOGUE": "plan.errors",
    "BackpropError": "plan.errors",
    "DataFacts": "plan.facts.dataset",
    "DatasetFacts": "plan.facts.dataset",
    "Decision": "plan.decision",
    "Event": "plan.events",
    "GenerateSettings": "plan.settings.verbs.generate",
    "GenerationPlan": "plan.generation.plan",
    "HardwareFacts": "plan.facts.hardware",
    "ModelFacts": "plan.facts.model",
    "Origins": "plan.settings.resolve",
    "Problem": "plan.decision",
    "Refused": "plan.decision",
    "ResumePlan": "plan.runs.resume",
    "ResumeSettings": "plan.settings.verbs.resume",
    "Severity": "plan.decision",
    "SoftwareFacts": "plan.facts.software",
    "TokenizerFacts": "plan.facts.model",
    "TrainFacts": "plan.training.facts",
    "TrainPlan": "plan.training.plan",
    "TrainReport": "plan.runs.report",
    "TrainSettings": "plan.settings.verbs.train",
    "Trainer": "workflows.trainer",
    "extend_plan": "plan.training.plan",
    "fingerprint": "plan.training.fingerprint",
    "from_data": "plan.wire.converter",
    "plan_generation": "plan.generation.plan",
    "plan_resume": "plan.runs.resume",
    "plan_train": "plan.training.plan",
    "to_data": "plan.wire.converter",
}

__all__ = [
    "CATALOGUE",
    "BackpropError",
    "DataFacts",
    "DatasetFacts",
    "Decision",
    "Event",
    "GenerateSettings",
    "GenerationPlan",
    "HardwareFacts",
    "ModelFacts",
    "Origins",
    "Problem",
    "Refused",
    "ResumePlan",
    "ResumeSettings",
    "Severity",
    "SoftwareFacts",
    "TokenizerFacts",
    "TrainFacts",
    "TrainPlan",
    "TrainReport",
    "TrainSettings",
    "Trainer",
    "__version__",
    "extend_plan",
    "fingerprint",
    "from_data",
    "plan_generation",
    "plan_resume",
    "plan_train",
    "to_data",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
