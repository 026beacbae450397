"""The MODEL group: which model, and how its weights are held."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.settings.kinds import Choice, ModelName, Switch, Whole
from backprop.plan.settings.option import group, opt


class Dtype(enum.Enum):
    """The number format of the base weights."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


@group("model")
@attrs.frozen
class ModelSettings:
    """BACKPROPAGATE_MODEL__…"""

    name: str = opt(
        ModelName(),
        "--model",
        "-m",
        default="Qwen/Qwen2.5-7B-Instruct",
        help="Model name (Hub id or local directory).",
        file_like=True,
    )
    load_in_4bit: bool | None = opt(
        Switch(),
        "--load-in-4bit",
        unset="4-bit (NF4) for an adapter on CUDA, full weights elsewhere",
        help="Hold the base weights in 4 bits while training an adapter (QLoRA).",
        rare=True,
    )
    max_seq_length: int = opt(
        Whole(minimum=8),
        "--max-seq-length",
        default=2048,
        help="Longest sequence in tokens; longer rows are cut, and counted in the plan.",
    )
    dtype: Dtype = opt(
        Choice(Dtype), "--dtype", default=Dtype.AUTO, help="Number format of the base weights.", rare=True
    )
    trust_remote_code: bool = opt(
        Switch(),
        "--trust-remote-code",
        default=False,
        help="Run Python code that the model's repository ships. Off unless you trust its authors.",
        rare=True,
    )
