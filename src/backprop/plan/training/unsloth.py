"""Whether Unsloth loads and patches the model."""

from __future__ import annotations

from backprop.plan.decision import Decision
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.lora import AdapterInit
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.chosen import given
from backprop.plan.training.rail import Rail

LETS_ROWS_SEE = "Unsloth's attention goes by no positions: the rows of one sequence would see one another."
"""It takes their lengths from its own collator (unsloth/models/llama.py, ``packed_seq_lengths``)."""


def plan_unsloth(
    settings: TrainSettings, rail: Rail, software: SoftwareFacts, *, processes: int, origins: Origins
) -> Decision[bool] | None:
    """On a card, for an adapter trained by one process, where it is installed and wanted; None where it is not here."""
    if rail is not Rail.CUDA or not software.has("unsloth"):
        return None
    if not settings.training.use_unsloth:
        return given(origins, "training.use_unsloth", False)
    if settings.training.mode is not TrainMode.LORA:
        return Decision(False, "full fine-tuning", "Unsloth is used for adapters alone.")
    if settings.training.method is not Objective.SFT:
        return Decision(False, f"method {settings.training.method.value}", "Unsloth is used for sft alone.")
    if settings.training.fp8:
        return Decision(False, "float8", "Unsloth loads the weights in its own way.")
    if settings.lora.init_lora_weights is not AdapterInit.DEFAULT:
        return Decision(False, "first weights", "Unsloth begins an adapter at random.")
    if settings.lora.use_dora:
        return Decision(False, "DoRA", "Unsloth's kernels are for plain LoRA.")
    if settings.data.packing and origins.of("data.packing"):
        return Decision(False, "packing", LETS_ROWS_SEE)
    if processes > 1:
        return Decision(False, "several processes", "Unsloth is used by a single process alone.")
    return Decision(True, "installed", "Unsloth loads and patches the model; if it fails, transformers does.")
