"""``backprop data split``: a file to train on and one that is held out, with nothing in both."""

from __future__ import annotations

import os

import numpy as np

from backprop.effects.files.row_files import write_rows
from backprop.effects.probe.row_clusters import ClusteredRows, cluster_rows, source_blocks
from backprop.effects.probe.row_source import RowSource, open_rows
from backprop.plan.data.dividing import divide
from backprop.plan.data.shown import SplitReport
from backprop.plan.decision import Problem, Refused
from backprop.plan.errors import BackpropError
from backprop.plan.events import Stage
from backprop.plan.settings.resolve import Layer, Source, resolve
from backprop.plan.settings.verbs.data_split import DataSplitSettings
from backprop.plan.wire.outcome import Outcome, ok
from backprop.workflows.request import Request
from backprop.workflows.row_outputs import broken_rows, output_file

COMMAND = "data split"


def run(request: Request[DataSplitSettings]) -> Outcome:
    """Find what belongs together, divide, write both files."""
    settings = request.settings
    source = open_rows(
        settings.dataset,
        format=settings.format,
        text_column=settings.data.text_column,
        split=settings.data.dataset_split,
        flag="DATASET",
    )
    out_train = output_file(settings.out_train, source, "train", flag="--out-train")
    out_heldout = output_file(settings.out_heldout, source, "heldout", flag="--out-heldout", others=(out_train,))
    rows = cluster_rows(
        source,
        threshold=None if settings.exact_only else settings.dup_threshold,
        tell=lambda what: request.emit(Stage(what)),
    )
    clusters = rows.duplicates.clusters
    held_out = divide(clusters, rows.digests, share=settings.heldout_ratio, seed=settings.seed)
    if held_out is None:
        raise _too_few(source, len(clusters.first), rows)
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
    return ok(COMMAND, report, warnings=(*request.warnings, *broken_rows(rows)))


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
    values = {
        "dataset": os.fspath(path),
        "heldout_ratio": heldout_ratio,
        "seed": seed,
        "out_train": None if out_train is None else os.fspath(out_train),
        "out_heldout": None if out_heldout is None else os.fspath(out_heldout),
        "dup_threshold": dup_threshold,
        "exact_only": exact_only,
        "data.text_column": text_column,
        "data.dataset_split": dataset_split,
    }
    given = {key: value for key, value in values.items() if value is not None}
    resolved = resolve(DataSplitSettings, [Layer(Source.CALL, "", given, typed=True)])
    if isinstance(resolved, Refused):
        raise BackpropError(*resolved.problems)
    report = run(Request(resolved.settings)).report
    assert isinstance(report, SplitReport)
    return report


def _too_few(source: RowSource, num_rows: int, rows: ClusteredRows) -> BackpropError:
    if not num_rows:
        return BackpropError(*rows.broken)
    readable = "" if not rows.num_broken else f" that can be read, of {num_rows + rows.num_broken:,}"
    what = f"it has one row{readable}" if num_rows == 1 else f"its {num_rows:,} rows{readable} are all equal or similar"
    message = f"{source.name} cannot be divided: {what}."
    hint = "A split takes two rows." if num_rows == 1 else "Pass --exact-only to keep equal rows alone together."
    problem = Problem("CONFIG_INVALID_SETTING", message, where="DATASET", hint=hint)
    return BackpropError(problem, *broken_rows(rows))
