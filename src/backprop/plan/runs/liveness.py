"""What a run that says it is running really does, judged by what the operating system says of its process."""

from __future__ import annotations

from backprop.plan.runs.row import Worker
from backprop.plan.settings.verbs.runs import RunStatus

# The start of a process is computed from the boot time, which the clock's corrections move.
_SAME_START_SECONDS = 2.0


def seen_status(status: RunStatus, worker: Worker, *, hostname: str, started_at: float | None) -> RunStatus:
    """``failed`` for a running run whose process has died, else ``status`` itself.

    ``started_at`` is when the process that has the worker's pid on this machine began; None when there is none.
    Of a process on another machine nothing can be seen, and the record is believed.
    """
    if status is not RunStatus.RUNNING or worker.hostname != hostname:
        return status
    alive = started_at is not None and abs(started_at - worker.started_at) <= _SAME_START_SECONDS
    return RunStatus.RUNNING if alive else RunStatus.FAILED
