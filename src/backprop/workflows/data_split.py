"""``backprop data split``: a file to train on and one that is held out, with nothing in both."""

from __future__ import annotations

import os

import numpy as np

from backprop.effects.files.row_files import write_rows
from backprop.effects.probe.row_clusters import ClusteredRows, cluster_rows, source_blocks
from backprop.effects.probe.row_source import RowSource, source_of
from backprop.plan.data.dividing import divide
from backprop.plan.data.shown import SplitReport
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.events import Stage
from backprop.plan.settings.verbs.data_split import DataSplitSettings
from backprop.plan.wire.outcome import Outcome, ok
from backprop.workflows.python_call import settings_of
from backprop.workflows.request import Request
from backprop.workflows.row_outputs import broken_rows, idle_of, kinds_of_rows, output_file

COMMAND = "data split"


def run(request: Request[DataSplitSettings]) -> Outcome:
    """Find what belongs together, divide, write both files."""
    settings = request.settings
    source = source_of(settings)
    kinds = kinds_of_rows(source)
    out_train = output_file(settings.out_train, source, "train", kinds=kinds, flag="--out-train")
    out_heldout = output_file(
        settings.out_heldout, source, "heldout", kinds=kinds, flag="--out-heldout", others=(out_train,)
    )
    rows = cluster_rows(
        source,
        threshold=None if settings.exact_only else settings.dup_threshold,
        tell=lambda what: request.emit(Stage(what)),
    )
    clusters = rows.duplicates.clusters
    held_out = divide(clusters, rows.digests, share=settings.heldout_ratio, seed=settings.seed)
    if held_out is None:
        raise _too_few(source, len(clusters.first), rows, exact_only=settings.exact_only)
    request.emit(Stage("writing"))
    sides = ((out_train, rows.chosen(~held_out)), (out_heldout, rows.chosen(held_out)))
    write_rows(source_blocks(source), sides)
    num_heldout = int(np.count_nonzero(held_out))
    report = SplitReport(
        dataset=source.name,
        out_train=str(out_train),
        out_heldout=str(out_heldout),
        n_train=len(held_out) - num_heldout,
        n_heldout=num_heldout,
        num_clusters=len(held_out) - clusters.num_removable,
        rows_broken=rows.num_broken,
    )
    idle = idle_of(request.origins, source, exact_only=settings.exact_only)
    return ok(COMMAND, report, warnings=(*idle, *request.warnings, *broken_rows(rows)))


def split_dataset(
    path: str | os.PathLike[str],
    *,
    heldout_ratio: float = 0.1,
    seed: int = 0,
    out_train: str | os.PathLike[str] | None = None,
    out_heldout: str | os.PathLike[str] | None = None,
    dup_threshold: float = 0.9,
    exact_only: bool = False,
    text_column: str = "text",
    dataset_split: str = "train",
) -> SplitReport:
    """Write the rows to train on and those held out, as ``backprop data split`` does.

    Raises ``BackpropError``: CONFIG_INVALID_SETTING for a value out of range or a data set that cannot be divided.
    """
    settings = settings_of(
        DataSplitSettings,
        dataset=path,
        heldout_ratio=heldout_ratio,
        seed=seed,
        out_train=out_train,
        out_heldout=out_heldout,
        dup_threshold=dup_threshold,
        exact_only=exact_only,
        text_column=text_column,
        dataset_split=dataset_split,
    )
    report = run(Request(settings)).report
    assert isinstance(report, SplitReport)
    return report


def _too_few(source: RowSource, num_rows: int, rows: ClusteredRows, *, exact_only: bool) -> BackpropError:
    if not num_rows:
        return BackpropError(*rows.broken)
    readable = "" if not rows.num_broken else f" that can be read, of {num_rows + rows.num_broken:,}"
    alike = "equal" if exact_only else "equal or similar"
    what = f"it has one row{readable}" if num_rows == 1 else f"its {num_rows:,} rows{readable} are all {alike}"
    message = f"{source.name} cannot be divided: {what}."
    looser = "Divide rows that differ." if exact_only else "Pass --exact-only to keep equal rows alone together."
    hint = "A split takes two rows." if num_rows == 1 else looser
    problem = Problem("CONFIG_INVALID_SETTING", message, where="DATASET", hint=hint)
    return BackpropError(problem, *broken_rows(rows))
