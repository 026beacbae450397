"""The DATA group: which rows, how they are written for the model, and what of them is learned."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.settings.kinds import Choice, Real, Switch, Whole, Words
from backprop.plan.settings.option import group, opt


class ChatFormat(enum.Enum):
    """How a row is laid out."""

    AUTO = "auto"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    OPENAI = "openai"
    COMPLETION = "completion"
    CHATML = "chatml"
    RAW = "raw"
    PREFERENCE = "preference"
    KTO = "kto"


class RowFormat(enum.Enum):
    """How rows are laid out, by the names of :class:`backprop.plan.data.layout.Layout`."""

    AUTO = "auto"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    OPENAI = "openai"
    RAW = "raw"
    COMPLETION = "completion"
    CHATML = "chatml"
    PREFERENCE = "preference"
    KTO = "kto"


@group("data")
@attrs.frozen
class DataSettings:
    """BACKPROPAGATE_DATA__…"""

    dataset_name: str | None = opt(
        Words(),
        "--data",
        "-d",
        unset="required",
        help="Data set: a .jsonl, .ndjson, .json, .csv, .tsv, .parquet or .txt file (also .gz, .zst), or a Hub data "
        "set (owner/name, or owner/name:configuration). Rows have messages, conversations (or conversation), "
        "instruction and output (or response), prompt and completion (or response), or text; chosen and rejected for "
        "--method orpo and simpo, prompt, completion and label for kto.",
        metavar="FILE|NAME",
        file_like=True,
    )
    dataset_split: str = opt(Words(), "--dataset-split", default="train", help="Split of a Hub data set.", rare=True)
    max_samples: int | None = opt(
        Whole(minimum=1), "--samples", unset="all", help="Use at most this many rows, from the start."
    )
    text_column: str = opt(Words(), "--text-column", default="text", help="Column that holds raw text.", rare=True)
    chat_format: ChatFormat = opt(
        Choice(ChatFormat),
        "--data-format",
        default=ChatFormat.AUTO,
        help="Layout of the rows. auto: told from the first rows.",
        rare=True,
    )
    chat_template: str | None = opt(
        Words(),
        "--chat-template",
        unset="the model's own",
        help="Chat template: a built-in name (chatml, llama3, gemma, mistral, alpaca, plain) or a Jinja file.",
        metavar="NAME|FILE",
        file_like=True,
    )
    train_on_prompt: bool = opt(
        Switch(), "--train-on-prompt", default=False, help="Learn the prompts too, not only the assistant's turns."
    )
    allow_lost_targets: bool = opt(
        Switch(),
        "--allow-lost-targets",
        default=False,
        help="Train although the chat template drops text that should be learned.",
        rare=True,
    )
    allow_truncation: bool = opt(
        Switch(),
        "--allow-truncation",
        default=False,
        help="Train although more than a tenth of the rows is longer than --max-seq-length.",
        rare=True,
    )
    skip_bad_rows: bool = opt(
        Switch(),
        "--skip-bad-rows",
        default=False,
        help="Leave out rows that cannot be used, and say how many; without it one such row refuses the run.",
    )
    max_bad_share: float = opt(
        Real(at_least=0, below=1),
        "--max-bad-share",
        default=0.0,
        help="Leave out rows that cannot be used up to this share of all rows, and refuse the run beyond it.",
        metavar="SHARE",
        rare=True,
    )
    reasoning_trace: bool = opt(
        Switch(),
        "--reasoning-trace",
        default=False,
        help="Learn reasoning traces (<think>…</think>): rows whose trace is empty, too long or unbalanced are left "
        "out, and sequences may be 8,192 tokens long unless --max-seq-length says otherwise.",
    )
    min_trace_tokens: int = opt(
        Whole(minimum=1), "--min-trace-tokens", default=8, help="A shorter trace counts as empty.", rare=True
    )
    max_trace_tokens: int = opt(
        Whole(minimum=1), "--max-trace-tokens", default=8192, help="A longer trace is left out.", rare=True
    )
    shuffle: bool = opt(Switch(), "--shuffle", default=True, help="Shuffle the rows, anew in every epoch.", rare=True)
    packing: bool = opt(
        Switch(),
        "--packing",
        default=True,
        help="Pack several rows into one sequence, each isolated from the others.",
    )
    eval_split: str | None = opt(
        Words(),
        "--eval-split",
        unset="no evaluation",
        help="Held-out rows: a share of the data such as 0.1, or a file. A share keeps equal rows together; "
        "`backprop data split` keeps similar ones together, too.",
        metavar="SHARE|FILE",
        file_like=True,
    )
