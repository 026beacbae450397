"""``backprop runs``: the newest runs of an output directory, from the index alone."""

from __future__ import annotations

from pathlib import Path

from backprop.effects.store.index import read_history
from backprop.plan.runs.row import RunsReport
from backprop.plan.settings.verbs.runs import RunsSettings
from backprop.plan.wire.outcome import Outcome, ok
from backprop.workflows.request import Request


def run(request: Request[RunsSettings]) -> Outcome:
    """List runs, newest first; an output directory without any is no error."""
    settings = request.settings
    history = read_history(Path(settings.output.output_dir))
    rows = tuple(row for row in history.rows if settings.status in (None, row.run_status))
    report = RunsReport(runs=rows[: settings.limit], num_runs=len(rows), output_dir=settings.output.output_dir)
    return ok("runs", report, warnings=(*request.warnings, *history.warnings))
