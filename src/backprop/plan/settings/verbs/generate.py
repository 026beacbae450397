"""What ``backprop generate`` takes."""

from __future__ import annotations

import attrs

from backprop.plan.settings.kinds import ModelName, Real, Switch, Whole, Words
from backprop.plan.settings.option import opt
from backprop.plan.settings.verbs.shared import json_flag


@attrs.frozen
class GenerateSettings:
    """``backprop generate``"""

    adapter_path: str = opt(
        Words(),
        positional=True,
        help="Adapter directory, the --output of a train run, or a model directory.",
        metavar="ADAPTER_PATH",
        file_like=True,
    )
    prompt: str = opt(Words(), positional=True, help="The prompt; - reads it from standard input.", metavar="PROMPT")
    base: str | None = opt(
        ModelName(), "--base", unset="read from the adapter", help="Base model (Hub id or directory).", file_like=True
    )
    max_new_tokens: int = opt(
        Whole(minimum=1), "--max-new-tokens", default=128, help="Most new tokens of a completion."
    )
    num: int = opt(Whole(minimum=1), "--num", "-n", default=1, help="Number of completions.")
    temperature: float = opt(
        Real(at_least=0), "--temperature", default=0.7, help="Sampling temperature; 0 takes the likeliest token."
    )
    seed: int = opt(Whole(minimum=0, maximum=2**32 - 1), "--seed", default=0, help="Seed of the sampling.")
    raw: bool = opt(Switch(), "--raw", default=False, help="Give the prompt as it is, without the chat template.")
    json: bool = json_flag("the completions")
