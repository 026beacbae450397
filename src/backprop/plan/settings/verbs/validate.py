"""What ``backprop validate`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.data import DataSettings, RowFormat
from backprop.plan.settings.kinds import Whole, Words
from backprop.plan.settings.option import opt, part
from backprop.plan.settings.verbs.shared import config_file, dataset_argument, json_flag, max_seq_length, row_format


@attrs.frozen
class ValidateSettings:
    """``backprop validate``"""

    dataset: str = dataset_argument()
    format: RowFormat = row_format()
    max_errors: int = opt(
        Whole(minimum=1),
        "--max-errors",
        default=100,
        help="Stop after this many errors; list as many warnings at most.",
    )
    max_samples: int | None = opt(
        Whole(minimum=1), "--max-samples", unset="all", help="Check at most this many rows, from the start."
    )
    model: str | None = opt(
        Words(),
        "--model",
        "-m",
        unset="lengths are not checked",
        help="Model whose tokenizer and chat template say how long a row is (Hub id or local directory).",
        file_like=True,
    )
    max_seq_length: int | None = max_seq_length("Warn of rows longer than this many tokens; needs --model.")
    data: DataSettings = part(DataSettings, only=("dataset_split", "text_column", "chat_template"))
    config: str | None = config_file()
    json: bool = json_flag("the report")
