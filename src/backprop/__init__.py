"""Fine-tune language models on the hardware you have: the plan is printed, then executed.

The public names are those in ``__all__``; each is imported when it is first used, so that ``import backprop`` costs
next to nothing, and none of them loads torch before a run begins.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backprop.plan.data.check import Finding
    from backprop.plan.data.quality_report import DataReport
    from backprop.plan.data.shown import SplitReport
    from backprop.plan.data.validation import ValidationReport
    from backprop.plan.decision import Decision, Problem, Refused, Severity
    from backprop.plan.errors import CATALOGUE, BackpropError
    from backprop.plan.estimate.plan import EstimateFacts, plan_estimate
    from backprop.plan.estimate.report import EstimateReport
    from backprop.plan.events import CheckpointSaved, Event, Progressed
    from backprop.plan.export.report import ExportReport
    from backprop.plan.facts.absent import Absent
    from backprop.plan.facts.dataset import DataFacts, DatasetFacts
    from backprop.plan.facts.hardware import HardwareFacts
    from backprop.plan.facts.model import ModelFacts, TokenizerFacts
    from backprop.plan.facts.software import SoftwareFacts
    from backprop.plan.generation.facts import PromptFacts, TargetFacts
    from backprop.plan.generation.plan import GenerationPlan, plan_generation
    from backprop.plan.memory.plan import MemoryPlan
    from backprop.plan.runs.checkpoint import CheckpointManifest
    from backprop.plan.runs.extension import extend_plan
    from backprop.plan.runs.record import RunRecord
    from backprop.plan.runs.report import TrainReport
    from backprop.plan.runs.resume import ResumePlan, plan_resume
    from backprop.plan.settings.data import DataSettings
    from backprop.plan.settings.lora import LoraSettings
    from backprop.plan.settings.model import ModelSettings
    from backprop.plan.settings.resolve import Origins
    from backprop.plan.settings.training import TrainingSettings
    from backprop.plan.settings.verbs.estimate_vram import EstimateVramSettings
    from backprop.plan.settings.verbs.generate import GenerateSettings
    from backprop.plan.settings.verbs.resume import ResumeSettings
    from backprop.plan.settings.verbs.train import TrainSettings
    from backprop.plan.training.facts import TrainFacts
    from backprop.plan.training.fingerprint import fingerprint
    from backprop.plan.training.plan import TrainPlan, plan_train
    from backprop.plan.wire.converter import from_data, to_data
    from backprop.workflows.data_report import analyze_dataset
    from backprop.workflows.data_split import split_dataset
    from backprop.workflows.observation import observe
    from backprop.workflows.trainer import Trainer
    from backprop.workflows.validate import validate_dataset

__version__ = "0.1.0"

_HOMES = {
    "CATALOGUE": "plan.errors",
    "Absent": "plan.facts.absent",
    "BackpropError": "plan.errors",
    "CheckpointManifest": "plan.runs.checkpoint",
    "CheckpointSaved": "plan.events",
    "DataFacts": "plan.facts.dataset",
    "DataReport": "plan.data.quality_report",
    "DataSettings": "plan.settings.data",
    "DatasetFacts": "plan.facts.dataset",
    "Decision": "plan.decision",
    "EstimateFacts": "plan.estimate.plan",
    "EstimateReport": "plan.estimate.report",
    "EstimateVramSettings": "plan.settings.verbs.estimate_vram",
    "Event": "plan.events",
    "ExportReport": "plan.export.report",
    "Finding": "plan.data.check",
    "GenerateSettings": "plan.settings.verbs.generate",
    "GenerationPlan": "plan.generation.plan",
    "HardwareFacts": "plan.facts.hardware",
    "LoraSettings": "plan.settings.lora",
    "MemoryPlan": "plan.memory.plan",
    "ModelFacts": "plan.facts.model",
    "ModelSettings": "plan.settings.model",
    "Origins": "plan.settings.resolve",
    "Problem": "plan.decision",
    "Progressed": "plan.events",
    "PromptFacts": "plan.generation.facts",
    "Refused": "plan.decision",
    "ResumePlan": "plan.runs.resume",
    "ResumeSettings": "plan.settings.verbs.resume",
    "RunRecord": "plan.runs.record",
    "Severity": "plan.decision",
    "SoftwareFacts": "plan.facts.software",
    "TargetFacts": "plan.generation.facts",
    "TokenizerFacts": "plan.facts.model",
    "SplitReport": "plan.data.shown",
    "TrainFacts": "plan.training.facts",
    "TrainPlan": "plan.training.plan",
    "TrainReport": "plan.runs.report",
    "TrainSettings": "plan.settings.verbs.train",
    "Trainer": "workflows.trainer",
    "TrainingSettings": "plan.settings.training",
    "ValidationReport": "plan.data.validation",
    "analyze_dataset": "workflows.data_report",
    "extend_plan": "plan.runs.extension",
    "fingerprint": "plan.training.fingerprint",
    "from_data": "plan.wire.converter",
    "observe": "workflows.observation",
    "plan_estimate": "plan.estimate.plan",
    "plan_generation": "plan.generation.plan",
    "plan_resume": "plan.runs.resume",
    "plan_train": "plan.training.plan",
    "split_dataset": "workflows.data_split",
    "to_data": "plan.wire.converter",
    "validate_dataset": "workflows.validate",
}

__all__ = [
    "CATALOGUE",
    "Absent",
    "BackpropError",
    "CheckpointManifest",
    "CheckpointSaved",
    "DataFacts",
    "DataReport",
    "DataSettings",
    "DatasetFacts",
    "Decision",
    "EstimateFacts",
    "EstimateReport",
    "EstimateVramSettings",
    "Event",
    "ExportReport",
    "Finding",
    "GenerateSettings",
    "GenerationPlan",
    "HardwareFacts",
    "LoraSettings",
    "MemoryPlan",
    "ModelFacts",
    "ModelSettings",
    "Origins",
    "Problem",
    "Progressed",
    "PromptFacts",
    "Refused",
    "ResumePlan",
    "ResumeSettings",
    "RunRecord",
    "Severity",
    "SoftwareFacts",
    "SplitReport",
    "TargetFacts",
    "TokenizerFacts",
    "TrainFacts",
    "TrainPlan",
    "TrainReport",
    "TrainSettings",
    "Trainer",
    "TrainingSettings",
    "ValidationReport",
    "__version__",
    "analyze_dataset",
    "extend_plan",
    "fingerprint",
    "from_data",
    "observe",
    "plan_estimate",
    "plan_generation",
    "plan_resume",
    "plan_train",
    "split_dataset",
    "to_data",
    "validate_dataset",
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
