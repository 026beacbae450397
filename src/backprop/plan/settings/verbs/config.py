"""What ``backprop config`` takes, and the groups that files and variables may name."""

from __future__ import annotations

import attrs

from backprop.plan.settings.data import DataSettings
from backprop.plan.settings.kinds import Switch, Words
from backprop.plan.settings.log import LogSettings
from backprop.plan.settings.lora import LoraSettings
from backprop.plan.settings.model import ModelSettings
from backprop.plan.settings.option import opt, part
from backprop.plan.settings.training import TrainingSettings
from backprop.plan.settings.verbs.shared import config_file, json_flag


@attrs.frozen
class EverySetting:
    """Every group there is: what configuration files and variables may name."""

    model: ModelSettings = part(ModelSettings)
    data: DataSettings = part(DataSettings)
    training: TrainingSettings = part(TrainingSettings)
    lora: LoraSettings = part(LoraSettings)
    log: LogSettings = part(LogSettings)


@attrs.frozen
class ConfigSettings:
    """``backprop config``"""

    show: bool = opt(
        Switch(),
        "--show",
        default=False,
        unset="on when nothing else is asked",
        help="Print each setting, its value and where it came from.",
    )
    set: str | None = opt(
        Words(), "--set", unset="nothing", help="Write a setting to your user file.", metavar="KEY=VALUE"
    )
    reset: bool = opt(
        Switch(), "--reset", default=False, help="Remove your user file; it is kept beside itself as .bak."
    )
    config: str | None = config_file()
    json: bool = json_flag("the settings")
