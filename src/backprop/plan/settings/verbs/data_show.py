"""What ``backprop data show`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.data import ChatFormat
from backprop.plan.settings.kinds import Choice, Switch, Whole, Words
from backprop.plan.settings.option import opt
from backprop.plan.settings.verbs.shared import dataset_argument, json_flag


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
    max_seq_length: int = opt(
        Whole(minimum=8), "--max-seq-length", default=2048, help="Tokens beyond this are cut, as in training."
    )
    chat_template: str | None = opt(
        Words(),
        "--chat-template",
        unset="the model's own",
        help="Chat template: a built-in name or a Jinja file.",
        metavar="NAME|FILE",
        file_like=True,
    )
    train_on_prompt: bool = opt(Switch(), "--train-on-prompt", default=False, help="Learn the prompts, too.")
    format: ChatFormat = opt(
        Choice(ChatFormat),
        "--format",
        default=ChatFormat.AUTO,
        help="Layout of the rows. auto: told from the first rows.",
    )
    text_column: str = opt(Words(), "--text-column", default="text", help="Column that holds raw text.", rare=True)
    dataset_split: str = opt(Words(), "--dataset-split", default="train", help="Split of a Hub data set.", rare=True)
    json: bool = json_flag("the row")
