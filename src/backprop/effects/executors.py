"""Which function executes an action on a rail; these modules load torch, so each is imported only when needed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from backprop.effects.log import adopt_torch, hush_notices
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.training.rail import Rail

PYTHONS_OWN = (700, 10, 10)
"""How often the collector looks for cycles: tensors may hang in them."""
_TORCH_TRAIN = "backprop.effects.train.session:train"
_TORCH_GENERATE = "backprop.effects.generate:generate"

EXECUTORS: Mapping[tuple[Rail, str], str] = {
    (Rail.CUDA, "train"): _TORCH_TRAIN,
    (Rail.CPU, "train"): _TORCH_TRAIN,
    (Rail.MLX, "train"): "backprop.effects.mlx.session:train",
    (Rail.CUDA, "generate"): _TORCH_GENERATE,
    (Rail.CPU, "generate"): _TORCH_GENERATE,
}


def executor(rail: Rail, action: str) -> Callable[..., Any]:
    """The function for ``action`` on ``rail``. Raises DEP_PACKAGE_MISSING naming the package that it lacks."""
    gc.set_threshold(*PYTHONS_OWN)
    hush_notices()
    module_name, _, function_name = EXECUTORS[rail, action].partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as missing:
        raise BackpropError(
            Problem(
                "DEP_PACKAGE_MISSING",
                f"This needs the package {missing.name}, which is not installed.",
                hint="pip install torch transformers trl peft accelerate datasets safetensors",
            )
        ) from missing
    adopt_torch()
    function: Callable[..., Any] = getattr(module, function_name)
    return function
