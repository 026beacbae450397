"""What ``backprop show-run`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.option import part
from backprop.plan.settings.training import OutputSettings
from backprop.plan.settings.verbs.shared import json_flag, run_id_argument


@attrs.frozen
class ShowRunSettings:
    """``backprop show-run``"""

    output: OutputSettings = part(OutputSettings)
    run_id: str = run_id_argument()
    json: bool = json_flag("the run")
