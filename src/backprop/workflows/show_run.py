"""``backprop show-run``: everything that is known of one run."""

from __future__ import annotations

from backprop.effects.store.artefacts import observe_artefacts
from backprop.effects.store.history import HistoryStore
from backprop.plan.errors import BackpropError
from backprop.plan.runs.shown import show_run
from backprop.plan.settings.verbs.show_run import ShowRunSettings
from backprop.plan.wire.outcome import Outcome, ok, refused
from backprop.workflows.request import Request


def run(request: Request[ShowRunSettings]) -> Outcome:
    """Show the run whose id begins as given; CONFIG_INVALID_SETTING or INPUT_RUN_AMBIGUOUS when there is no such."""
    store = HistoryStore(request.settings.output.output_dir)
    try:
        record = store.find(request.settings.run_id)
    except BackpropError as error:
        return refused("show-run", (*error.problems, *request.warnings))
    run_dir = store.run_dir(record.run_id)
    report = show_run(
        record,
        store.events(record.run_id),
        run_dir=str(run_dir),
        artefacts=observe_artefacts(run_dir),
    )
    return ok("show-run", report, warnings=request.warnings)
