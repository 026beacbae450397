"""What the MLX rail does not do, each refused by the setting that asks for it."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

from backprop.plan.decision import Problem
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.model import ModelFacts
from backprop.plan.settings.option import options_of, value_at
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Optimizer
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.rail import Rail

MLX_OPTIMIZERS = (Optimizer.AUTO, Optimizer.ADAMW_TORCH, Optimizer.ADAMW_TORCH_FUSED, Optimizer.SGD)
"""AdamW in its one MLX form, and plain SGD."""
TAKES: Mapping[str, tuple[Any, ...]] = {
    "training.mode": ("lora",),
    "training.method": ("sft",),
    "training.fp8": (False, None),
    "training.fp16": (False, None),
    "training.optim": tuple(optimizer.value for optimizer in MLX_OPTIMIZERS),
    "model.load_in_4bit": (False, None),
    "model.dtype": ("auto", "float32", "bfloat16"),
    "lora.use_dora": (False,),
    "lora.init_lora_weights": ("default",),
}
"""The values of a setting, by its key, that the rail can carry out; of every other setting it takes all."""


def check_mlx(
    settings: TrainSettings, model: ModelFacts | Absent, rail: Rail | None, *, origins: Origins
) -> tuple[Problem, ...]:
    """CONFIG_INVALID_SETTING for each setting that the MLX rail cannot heed; nothing on another rail."""
    return (*_settings(settings, origins), *_model(model)) if rail is Rail.MLX else ()


def _settings(settings: TrainSettings, origins: Origins) -> Iterator[Problem]:
    for bound in options_of(TrainSettings):
        value = value_at(settings, bound)
        word = value.value if isinstance(value, enum.Enum) else value
        if bound.key not in TAKES or word in TAKES[bound.key]:
            continue
        origin = origins.of(bound.key)
        shown = bound.flag if word is True else f"{bound.flag} {bound.option.kind.text(value)}"
        yield Problem(
            "CONFIG_INVALID_SETTING",
            f"{shown} is not supported on the MLX rail, which trains LoRA adapters by supervised fine-tuning.",
            where=origin.name if origin else bound.flag,
            hint="Leave it out, or use --backend cpu.",
        )


def _model(model: ModelFacts | Absent) -> Iterator[Problem]:
    if not isinstance(model, Absent) and model.is_quantized:
        yield Problem(
            "CONFIG_INVALID_SETTING",
            f"{model.name} is stored quantized, which the MLX rail does not load.",
            where="--model",
            hint="Name the unquantized model with --model.",
        )


def mlx_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What mlx-lm must read besides a ``config.json``.

    It looks for the rotary base at the top level alone, where transformers 5 writes a group. Models with several
    groups, one a kind of layer, are left to mlx-lm.
    """
    rotary = config.get("rope_parameters")
    if not isinstance(rotary, Mapping) or "rope_theta" not in rotary:
        return {}
    found: dict[str, Any] = {"rope_theta": rotary["rope_theta"]}
    if rotary.get("rope_type", "default") != "default":
        scaling = {key: value for key, value in rotary.items() if key != "rope_theta"}
        found["rope_scaling"] = {**scaling, "type": rotary["rope_type"]}
    return {key: value for key, value in found.items() if config.get(key) is None}
