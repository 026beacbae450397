"""What ``backprop info`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.kinds import Switch
from backprop.plan.settings.option import opt
from backprop.plan.settings.verbs.shared import json_flag


@attrs.frozen
class InfoSettings:
    """``backprop info``"""

    json: bool = json_flag("everything")
    subcommand_tiers: bool = opt(
        Switch(),
        "--subcommand-tiers",
        default=False,
        help="Print which commands are stable, experimental or deprecated.",
    )
    env_vars: bool = opt(
        Switch(), "--env-vars", default=False, help="Print every BACKPROPAGATE_ variable that is in force."
    )
    error_codes: bool = opt(Switch(), "--error-codes", default=False, help="Print the catalogue of error codes.")
    models: bool = opt(
        Switch(), "--models", default=False, help="Print the models whose shape is known without the Hub."
    )
