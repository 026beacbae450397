"""What ``backprop data report`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.data import DataSettings, RowFormat
from backprop.plan.settings.kinds import Choice, Real, Switch, Whole, Words
from backprop.plan.settings.option import opt, part
from backprop.plan.settings.verbs.shared import config_file, dataset_argument, dup_threshold, json_flag

_SHARE = Real(at_least=0, at_most=1)


@attrs.frozen
class DataReportSettings:
    """``backprop data report``"""

    dataset: str = dataset_argument()
    format: RowFormat = opt(
        Choice(RowFormat),
        "--format",
        default=RowFormat.AUTO,
        help="Layout of the rows. auto: told from the first rows; a row of another one is an error.",
    )
    against: str | None = opt(
        Words(),
        "--against",
        unset="no contamination check",
        help="Held-out data set that the rows should not stand in.",
        metavar="FILE|NAME",
        file_like=True,
    )
    max_samples: int | None = opt(
        Whole(minimum=1), "--max-samples", unset="all", help="Look at most at this many rows, from the start."
    )
    dup_threshold: float = dup_threshold()
    fail_on_dups: float | None = opt(
        _SHARE,
        "--fail-on-dups",
        unset="advisory",
        help="Exit with 65 when more than this share of the rows are duplicates, near ones included.",
        metavar="RATE",
    )
    fail_on_contamination: float | None = opt(
        _SHARE,
        "--fail-on-contamination",
        unset="advisory",
        help="Exit with 65 when more than this share of the rows stand in --against, too.",
        metavar="RATE",
    )
    max_outlier_rate: float | None = opt(
        _SHARE,
        "--max-outlier-rate",
        unset="advisory",
        help="Exit with 65 when more than this share of the rows has an extraordinary length.",
        metavar="RATE",
    )
    strict: bool = opt(Switch(), "--strict", default=False, help="Make a WARN a FAIL, and exit with 65 on it.")
    model: str | None = opt(
        Words(),
        "--model",
        "-m",
        unset="lengths are estimated",
        help="Model whose tokenizer and chat template say how long a row is (Hub id or local directory).",
        file_like=True,
    )
    html: str | None = opt(
        Words(),
        "--html",
        unset="no page",
        help="Write the report as one page of HTML that needs nothing else.",
        metavar="FILE",
        file_like=True,
    )
    data: DataSettings = part(DataSettings, only=("dataset_split", "text_column", "chat_template"))
    config: str | None = config_file()
    json: bool = json_flag("the report")
