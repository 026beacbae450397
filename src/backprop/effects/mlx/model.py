"""The base model in MLX, an adapter on it, and the adapter's weights as PEFT names and lays them out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.tuner.lora import LoRALinear
from mlx_lm.tuner.trainer import grad_checkpoint
from mlx_lm.utils import load_model

from backprop.effects.files.json_file import read_object
from backprop.effects.mlx.translation import translated
from backprop.effects.probe.weight_files import read_weights
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.training.adapter import AdapterPlan
from backprop.plan.training.mlx import mlx_config
from backprop.plan.training.plan import TrainPlan

PEFT_NAMES = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight"}
PEFT_PREFIX = "base_model.model."
MULTIMODAL_PREFIX = "language_model."
"""Of the text model beside others, which transformers loads as ``model.language_model``, whatever the files say."""


def load_adapted(plan: TrainPlan, model_dir: str) -> nn.Module:
    """The frozen base in the planned format with a fresh adapter, whose weights depend on nothing but its seed.

    Raises ``BackpropError`` DEP_MODEL_LOAD_FAILED.
    """
    assert plan.adapter is not None, "the MLX rail trains adapters"
    with translated("DEP_MODEL_LOAD_FAILED", f"The model {plan.model.name} cannot be loaded", where=model_dir):
        config = read_object(Path(model_dir) / "config.json")
        model, _ = load_model(Path(model_dir), model_config=mlx_config(config))
        model.set_dtype(getattr(mx, plan.precision.storage.value))
        model.freeze()
        mx.random.seed(plan.adapter.seed)
        adapted = add_adapter(model, plan.adapter)
        _check_names(adapted, plan.adapter, model_dir)
    return model


@contextmanager
def recomputed_activations(model: nn.Module) -> Iterator[None]:
    """Within it backward computes the activations of the layers again, instead of finding them in memory.

    mlx-lm does that to the class of the layers, so to every model of its family that is in the process, then or later.
    """
    kind = type(model.layers[0])
    as_it_was = kind.__call__
    grad_checkpoint(model.layers[0])
    try:
        yield
    finally:
        kind.__call__ = as_it_was


def add_adapter(model: nn.Module, adapter: AdapterPlan) -> tuple[str, ...]:
    """Wrap every linear layer that the plan names, in place; the paths of the layers.

    Factors are float32 whatever the base is held in.
    """
    wrapped = [
        (path, LoRALinear.from_base(layer, r=adapter.rank.value, dropout=adapter.dropout, scale=adapter.scale))
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and path.rsplit(".", 1)[-1] in adapter.targets.value
    ]
    model.update_modules(tree_unflatten(wrapped))
    return tuple(path for path, _ in wrapped)


def _check_names(adapted: tuple[str, ...], adapter: AdapterPlan, model_dir: str) -> None:
    """An adapter is handed over by the names that transformers has for its layers: those of the weight files.

    mlx-lm renames the layers of some families as it loads them, and holds those of some in a part of their own.
    """
    weights = read_weights(Path(model_dir))
    stored = {tensor.name for tensor in weights.tensors} if weights else set()
    renamed = [path for path in adapted if f"{path}.weight" not in stored or path.startswith(MULTIMODAL_PREFIX)]
    missing = set(adapter.targets.value) - {path.rsplit(".", 1)[-1] for path in adapted}
    if renamed or missing:
        what = f"calls a layer {renamed[0]}" if renamed else f"has no layer {min(missing)}"
        message = f"mlx-lm {what}, other than transformers: its adapter would not fit the model."
        raise BackpropError(Problem("DEP_MODEL_LOAD_FAILED", message, where=model_dir, hint="Use --backend cpu."))


def peft_weights(model: nn.Module) -> dict[str, mx.array]:
    """The adapter as PEFT holds it: (in, r) and (r, out) here are (r, in) and (out, r) there."""
    found = {}
    for name, value in tree_flatten(model.trainable_parameters()):
        path, factor = name.rsplit(".", 1)
        found[f"{PEFT_PREFIX}{path}.{PEFT_NAMES[factor]}"] = mx.contiguous(value.T)
    return found


def set_peft_weights(model: nn.Module, weights: Mapping[str, mx.array]) -> None:
    """Put an adapter of :func:`peft_weights`, or of PEFT, into the model."""
    ours = {theirs: factor for factor, theirs in PEFT_NAMES.items()}
    loaded = []
    for name, value in weights.items():
        path, factor = name.removeprefix(PEFT_PREFIX).rsplit(".lora_", 1)
        loaded.append((f"{path}.{ours[f'lora_{factor}']}", mx.contiguous(value.T)))
    model.load_weights(loaded, strict=False)
