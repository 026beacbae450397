"""What ``backprop estimate-vram`` takes: a model, a card, and all of train's settings that memory depends on."""

from __future__ import annotations

import attrs

from backprop.plan.memory.objective import Objective
from backprop.plan.settings.data import DataSettings
from backprop.plan.settings.kinds import Choice, Real, Words
from backprop.plan.settings.lora import LoraSettings
from backprop.plan.settings.model import ModelSettings
from backprop.plan.settings.option import opt, part
from backprop.plan.settings.training import TrainingSettings
from backprop.plan.settings.verbs.shared import config_file, json_flag


@attrs.frozen
class EstimateVramSettings:
    """``backprop estimate-vram``"""

    name: str = opt(
        Words(),
        positional=True,
        optional_positional=True,
        default="Qwen/Qwen2.5-7B-Instruct",
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
    method: Objective = opt(
        Choice(Objective),
        "--method",
        default=Objective.SFT,
        help="sft, or a preference method: two sequences a row for orpo and simpo, a reference pass for kto.",
    )
    model: ModelSettings = part(ModelSettings, only=("load_in_4bit", "max_seq_length", "dtype"))
    data: DataSettings = part(DataSettings, only=("packing",))
    training: TrainingSettings = part(
        TrainingSettings,
        only=(
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "optim",
            "mode",
            "full_ft_offload",
            "full_ft_ceiling_billions",
            "bf16",
            "fp16",
        ),
    )
    lora: LoraSettings = part(
        LoraSettings, only=("preset", "r", "lora_dropout", "target_modules", "use_dora", "use_gradient_checkpointing")
    )
    config: str | None = config_file()
    json: bool = json_flag("the table")
