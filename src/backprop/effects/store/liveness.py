"""Which process this is, and whether the process that a run names is still there.

psutil is loaded where a process is looked at: a list of finished runs asks for none.
"""

from __future__ import annotations

import os
import platform

from backprop.plan.runs.liveness import seen_status
from backprop.plan.runs.row import Worker
from backprop.plan.settings.verbs.runs import RunStatus


def this_worker() -> Worker:
    """The process that runs this."""
    import psutil

    pid = os.getpid()
    return Worker(pid=pid, started_at=psutil.Process(pid).create_time(), hostname=platform.node())


def observe_status(status: RunStatus, worker: Worker) -> RunStatus:
    """The status as seen now: a running run whose process has died is failed."""
    if status is not RunStatus.RUNNING:
        return status
    return seen_status(status, worker, hostname=platform.node(), started_at=_started_at(worker.pid))


def _started_at(pid: int) -> float | None:
    import psutil

    try:
        process = psutil.Process(pid)
        # A zombie has died; it only waits for its parent to notice.
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except (psutil.NoSuchProcess, ValueError):
        return None
    except psutil.AccessDenied:
        return None
