"""What ``backprop data dedupe`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.data import DataSettings, RowFormat
from backprop.plan.settings.kinds import Switch, Words
from backprop.plan.settings.option import opt, part
from backprop.plan.settings.verbs.shared import config_file, dataset_argument, dup_threshold, json_flag, row_format


@attrs.frozen
class DataDedupeSettings:
    """``backprop data dedupe``"""

    dataset: str = dataset_argument()
    out: str | None = opt(
        Words(), "--out", unset="<stem>.deduped.jsonl", help="File of the rows kept.", metavar="FILE", file_like=True
    )
    removed: str | None = opt(
        Words(),
        "--removed",
        unset="<stem>.removed.jsonl",
        help="File that says of each row that went why, and which row stays in its place.",
        metavar="FILE",
        file_like=True,
    )
    dup_threshold: float = dup_threshold()
    exact_only: bool = opt(
        Switch(), "--exact-only", default=False, help="Remove equal rows alone, not similar ones; faster."
    )
    format: RowFormat = row_format()
    data: DataSettings = part(DataSettings, only=("dataset_split", "text_column"))
    config: str | None = config_file()
    json: bool = json_flag("what was written")
