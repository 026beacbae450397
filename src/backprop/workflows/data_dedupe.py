"""``backprop data dedupe``: the rows without those that repeat an earlier one, and a file that says what went why."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop.effects.files.atomic import replacing_all
from backprop.effects.files.row_files import copy_rows
from backprop.effects.files.rows import json_row
from backprop.effects.probe.row_clusters import ClusteredRows, first_rows, source_blocks
from backprop.effects.probe.row_source import source_of
from backprop.plan.data.clusters import Rows
from backprop.plan.data.shown import DedupeReport
from backprop.plan.errors import BackpropError
from backprop.plan.events import Stage
from backprop.plan.settings.verbs.data_dedupe import DataDedupeSettings
from backprop.plan.wire.outcome import Outcome, ok
from backprop.workflows.request import Request
from backprop.workflows.row_outputs import JSON_LINES, broken_rows, idle_of, kinds_of_rows, output_file

COMMAND = "data dedupe"


def run(request: Request[DataDedupeSettings]) -> Outcome:
    """Find the first row of every cluster, and write these; another run on what was written removes nothing."""
    settings = request.settings
    source = source_of(settings)
    out = output_file(settings.out, source, "deduped", kinds=kinds_of_rows(source), flag="--out")
    removed = output_file(settings.removed, source, "removed", kinds=JSON_LINES, flag="--removed", others=(out,))
    threshold = None if settings.exact_only else settings.dup_threshold
    rows, first = first_rows(source, threshold=threshold, tell=lambda what: request.emit(Stage(what)))
    if not len(first):
        raise BackpropError(*rows.broken)
    request.emit(Stage("writing"))
    is_kept = first == np.arange(len(first), dtype=np.uint32)
    with replacing_all((out, removed)) as (kept, reasons):
        copy_rows(source_blocks(source), ((kept, rows.chosen(is_kept)),))
        reasons.writelines(_reasons(rows, first))
    num_kept = int(np.count_nonzero(is_kept))
    num_equal = rows.duplicates.exact_removable
    report = DedupeReport(
        dataset=source.name,
        out=str(out),
        removed=str(removed),
        rows_kept=num_kept,
        rows_equal=num_equal,
        rows_similar=len(first) - num_kept - num_equal,
        rows_broken=rows.num_broken,
    )
    idle = idle_of(request.origins, source, exact_only=settings.exact_only)
    return ok(COMMAND, report, warnings=(*idle, *request.warnings, *broken_rows(rows)))


def _reasons(rows: ClusteredRows, first: Rows) -> Iterator[bytes]:
    """A line of JSON for each row that goes: where it stands, which row stays, and whether an earlier one is equal."""
    first_equal = rows.duplicates.first_equal
    for row in np.flatnonzero(first != np.arange(len(first), dtype=np.uint32)).tolist():
        why = "equal" if first_equal[row] != row else "similar"
        yield json_row({"row": rows.where(row), "stays": rows.where(int(first[row])), "reason": why})
