"""What ``backprop data convert`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.data.converting import Target
from backprop.plan.settings.data import ChatFormat
from backprop.plan.settings.kinds import Choice, Switch, Words
from backprop.plan.settings.option import opt
from backprop.plan.settings.verbs.shared import dataset_argument, json_flag


@attrs.frozen
class DataConvertSettings:
    """``backprop data convert``"""

    dataset: str = dataset_argument()
    to: Target = opt(Choice(Target), "--to", default=Target.OPENAI, help="Layout to write.")
    out: str | None = opt(
        Words(), "--out", unset="<stem>.<layout>.jsonl", help="File to write.", metavar="FILE", file_like=True
    )
    format: ChatFormat = opt(
        Choice(ChatFormat),
        "--format",
        default=ChatFormat.AUTO,
        help="Layout of the rows. auto: told from the first rows.",
    )
    text_column: str = opt(Words(), "--text-column", default="text", help="Column that holds raw text.", rare=True)
    dataset_split: str = opt(Words(), "--dataset-split", default="train", help="Split of a Hub data set.", rare=True)
    skip_bad_rows: bool = opt(
        Switch(),
        "--skip-bad-rows",
        default=False,
        help="Leave out rows that cannot be read or written.",
    )
    json: bool = json_flag("what was written")
