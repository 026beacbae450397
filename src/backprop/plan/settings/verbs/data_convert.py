"""What ``backprop data convert`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.data.converting import Target
from backprop.plan.settings.data import DataSettings, RowFormat
from backprop.plan.settings.kinds import Choice, Switch, Words
from backprop.plan.settings.option import opt, part
from backprop.plan.settings.verbs.shared import config_file, dataset_argument, json_flag, row_format


@attrs.frozen
class DataConvertSettings:
    """``backprop data convert``"""

    dataset: str = dataset_argument()
    to: Target = opt(Choice(Target), "--to", default=Target.OPENAI, help="Layout to write.")
    out: str | None = opt(
        Words(), "--out", unset="<stem>.<layout>.jsonl", help="File to write.", metavar="FILE", file_like=True
    )
    format: RowFormat = row_format()
    data: DataSettings = part(DataSettings, only=("dataset_split", "text_column"))
    skip_bad_rows: bool = opt(
        Switch(),
        "--skip-bad-rows",
        default=False,
        help="Leave out rows that cannot be read or written.",
    )
    config: str | None = config_file()
    json: bool = json_flag("what was written")
