"""What ``backprop runs`` takes."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.settings.kinds import Choice, Whole
from backprop.plan.settings.option import opt, part
from backprop.plan.settings.training import OutputSettings
from backprop.plan.settings.verbs.shared import json_flag


class RunStatus(enum.Enum):
    """What a run's record says of it."""

    RUNNING = "running"
    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    """Stopped by who started it."""
    FAILED = "failed"

    @property
    def is_resumable(self) -> bool:
        """Whether the run has stopped short of its end."""
        return self in (RunStatus.INTERRUPTED, RunStatus.FAILED)


@attrs.frozen
class RunsSettings:
    """``backprop runs`` and its older name ``list-runs``"""

    output: OutputSettings = part(OutputSettings)
    limit: int = opt(Whole(minimum=1), "--limit", default=20, help="Show at most this many runs, newest first.")
    status: RunStatus | None = opt(Choice(RunStatus), "--status", unset="all", help="Only runs of this status.")
    json: bool = json_flag("the runs")
