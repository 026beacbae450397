"""``backprop data split`` for a person."""

from __future__ import annotations

from backprop.cli.style import Style, printable
from backprop.plan.data.shown import SplitReport


def show(report: SplitReport, style: Style) -> str:
    """The two files with their rows."""
    share = report.n_heldout / (report.n_train + report.n_heldout)
    rows = [
        ("n_train", f"{report.n_train:,}", printable(report.out_train)),
        ("n_heldout", f"{report.n_heldout:,}", f"{printable(report.out_heldout)} ({share:.1%})"),
    ]
    clusters = f"{report.num_clusters:,} groups of equal or similar rows, each on one side."
    return f"{style.table(rows, right=(1,))}\n{style.dim(clusters)}"
