"""What ``backprop resume`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.kinds import Switch, Whole
from backprop.plan.settings.option import opt, part
from backprop.plan.settings.training import OutputSettings
from backprop.plan.settings.verbs.shared import json_flag, run_id_argument


@attrs.frozen
class ResumeSettings:
    """``backprop resume``"""

    output: OutputSettings = part(OutputSettings)
    run_id: str = run_id_argument()
    steps: int | None = opt(
        Whole(minimum=1),
        "--steps",
        unset="as planned",
        help="Train until this step in all; extends a finished run.",
    )
    dry_run: bool = opt(Switch(), "--dry-run", default=False, help="Print the plan of what is left, and stop.")
    json: bool = json_flag("the plan and the result")
