"""What ``backprop data split`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.data import DataSettings, RowFormat
from backprop.plan.settings.kinds import Real, Switch, Whole, Words
from backprop.plan.settings.option import opt, part
from backprop.plan.settings.verbs.shared import config_file, dataset_argument, dup_threshold, json_flag, row_format


@attrs.frozen
class DataSplitSettings:
    """``backprop data split``"""

    dataset: str = dataset_argument()
    heldout_ratio: float = opt(
        Real(above=0, below=1), "--heldout-ratio", default=0.1, help="Share of the rows that is held out."
    )
    seed: int = opt(Whole(minimum=0, maximum=2**64 - 1), "--seed", default=0, help="Another seed holds out other rows.")
    out_train: str | None = opt(
        Words(),
        "--out-train",
        unset="<stem>.train.jsonl",
        help="File of the rows to train on.",
        metavar="FILE",
        file_like=True,
    )
    out_heldout: str | None = opt(
        Words(),
        "--out-heldout",
        unset="<stem>.heldout.jsonl",
        help="File of the rows that are held out.",
        metavar="FILE",
        file_like=True,
    )
    dup_threshold: float = dup_threshold()
    exact_only: bool = opt(
        Switch(),
        "--exact-only",
        default=False,
        help="Keep equal rows alone on one side, not similar ones; faster.",
    )
    format: RowFormat = row_format()
    data: DataSettings = part(DataSettings, only=("dataset_split", "text_column"))
    config: str | None = config_file()
    json: bool = json_flag("what was written")
