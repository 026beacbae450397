"""What ``backprop train`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.data import DataSettings
from backprop.plan.settings.kinds import Switch, Whole, Words
from backprop.plan.settings.lora import LoraSettings
from backprop.plan.settings.model import ModelSettings
from backprop.plan.settings.option import opt, part
from backprop.plan.settings.training import TrainingSettings
from backprop.plan.settings.verbs.shared import config_file, json_flag


@attrs.frozen
class TrainSettings:
    """``backprop train``"""

    model: ModelSettings = part(ModelSettings)
    data: DataSettings = part(DataSettings)
    training: TrainingSettings = part(TrainingSettings)
    lora: LoraSettings = part(LoraSettings)
    config: str | None = config_file()
    resume: str | None = opt(
        Words(),
        "--resume",
        unset="a new run",
        help="Continue this run instead of starting a new one.",
        metavar="RUN_ID",
    )
    dry_run: bool = opt(Switch(), "--dry-run", default=False, help="Print the plan and stop before loading the model.")
    show_mask: int = opt(
        Whole(minimum=0),
        "--show-mask",
        default=0,
        help="Print this many rows as the model will see them, what is learned in colour.",
        metavar="N",
    )
    json: bool = json_flag("the plan and the result")
