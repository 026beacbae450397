"""What ``backprop estimate-vram`` takes: a model, a card, and all of train's settings that memory depends on."""

from __future__ import annotations

import attrs

from backprop.plan.memory.objective import Objective
from backprop.plan.settings.data import DataSettings
from backprop.plan.settings.kinds import ModelName, Real
from backprop.plan.settings.lora import LoraSettings
from backprop.plan.settings.model import ModelSettings
from backprop.plan.settings.option import opt, part
from backprop.plan.settings.training import TrainingSettings
from backprop.plan.settings.verbs.shared import config_file, json_flag


@attrs.frozen
class EstimateVramSettings:
    """``backprop estimate-vram``"""

    name: str | None = opt(
        ModelName(),
        positional=True,
        optional_positional=True,
        unset="what --model names",
        help="Model name (Hub id or local directory).",
        metavar="MODEL",
        file_like=True,
    )
    vram_gb: float | None = opt(
        Real(above=0, at_most=512),
        "--vram-gb",
        unset="the memory of the card that is here",
        help="Memory of the card in GiB, for a card that is not here.",
        metavar="GIB",
    )
    ram_gb: float | None = opt(
        Real(above=0, at_most=65536),
        "--ram-gb",
        unset="what this machine has free",
        help="Free host memory in GiB of a machine that is not here; --full-ft-offload needs it.",
        metavar="GIB",
        rare=True,
    )
    model: ModelSettings = part(ModelSettings, only=("name", "load_in_4bit", "max_seq_length", "dtype"))
    data: DataSettings = part(DataSettings, only=("packing",))
    training: TrainingSettings = part(
        TrainingSettings,
        only=(
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "optim",
            "mode",
            "method",
            "full_ft_offload",
            "full_ft_ceiling_billions",
            "bf16",
            "fp16",
            "fp8",
        ),
    )
    lora: LoraSettings = part(
        LoraSettings, only=("preset", "r", "lora_dropout", "target_modules", "use_dora", "use_gradient_checkpointing")
    )
    config: str | None = config_file()
    json: bool = json_flag("the table")

    @property
    def asked_model(self) -> str:
        """The model that is asked about: MODEL, or else what --model, a variable or a file names, or the default."""
        return self.name or self.model.name

    @property
    def method(self) -> Objective:
        """The method that is asked about."""
        return self.training.method
