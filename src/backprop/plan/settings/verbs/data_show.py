"""What ``backprop data show`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.data import DataSettings, RowFormat
from backprop.plan.settings.kinds import Whole, Words
from backprop.plan.settings.option import opt, part
from backprop.plan.settings.verbs.shared import config_file, dataset_argument, json_flag, max_seq_length, row_format


@attrs.frozen
class DataShowSettings:
    """``backprop data show``"""

    dataset: str = dataset_argument()
    row: int = opt(Whole(minimum=1), "--row", default=1, help="Row to show, counted from 1; blank lines do not count.")
    model: str | None = opt(
        Words(),
        "--model",
        "-m",
        unset="the conversation alone",
        help="Model whose template and tokenizer show what it would see, and what of it is learned.",
        file_like=True,
    )
    max_seq_length: int | None = max_seq_length("Tokens beyond this are cut, as in training.")
    format: RowFormat = row_format()
    data: DataSettings = part(DataSettings, only=("dataset_split", "text_column", "chat_template", "train_on_prompt"))
    config: str | None = config_file()
    json: bool = json_flag("the row")
