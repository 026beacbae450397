"""In which formats full fine-tuning holds its weights, computes, and rounds what the optimizer writes."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.decision import Decision, Problem
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts
from backprop.plan.settings.model import Dtype, ModelSettings
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Optimizer, TrainingSettings
from backprop.plan.training.chosen import given, name_of
from backprop.plan.training.number_format import NumberFormat
from backprop.plan.training.precision import PrecisionPlan, plan_compute
from backprop.plan.training.rail import Rail

WHOLE_WEIGHTS = Decision(False, "full fine-tuning", "4-bit weights cannot be updated.")


class Rounding(enum.Enum):
    """How the result of an update becomes bfloat16."""

    STOCHASTIC = "stochastic"
    """Up or down with the probability that makes the mean right, arXiv:2010.06192."""
    NEAREST = "nearest"


ROUNDED_BY_US = frozenset({Optimizer.ADAMW_TORCH, Optimizer.ADAMW_TORCH_FUSED})
"""The optimizers that have an implementation of our own, which rounds stochastically."""


def plan_full_precision(
    model_settings: ModelSettings,
    training: TrainingSettings,
    *,
    rail: Rail,
    model: ModelFacts,
    hardware: HardwareFacts,
    origins: Origins,
) -> PrecisionPlan | Problem:
    """bfloat16 weights on a card that multiplies bfloat16, float32 weights elsewhere; never 4 bits."""
    unfit = _check_trainable(model_settings, model, origins)
    if unfit is not None:
        return unfit
    compute = plan_full_compute(model_settings, training, rail, hardware, origins)
    if isinstance(compute, Problem):
        return compute
    held = None
    if rail is Rail.CUDA and model_settings.dtype is Dtype.FLOAT32:
        held = given(origins, "model.dtype", NumberFormat.FLOAT32)
    elif rail is Rail.CUDA and compute.value is NumberFormat.FLOAT16:
        held = Decision(NumberFormat.FLOAT32, "float16 arithmetic", "float16 weights cannot take up small updates.")
    return PrecisionPlan(load_in_4bit=WHOLE_WEIGHTS, compute=compute, held=held)


def plan_full_compute(
    model: ModelSettings, training: TrainingSettings, rail: Rail, hardware: HardwareFacts, origins: Origins
) -> Decision[NumberFormat] | Problem:
    """The format of the arithmetic; float32 away from cards unless asked otherwise.

    float32 weights under half-precision arithmetic are mixed precision: --dtype float32 is about the weights alone.
    """
    if rail is not Rail.CUDA:
        if training.bf16 or training.fp16 or model.dtype is not Dtype.AUTO:
            return plan_compute(model, training, rail, hardware, origins)
        return Decision(NumberFormat.FLOAT32, "full fine-tuning on the CPU", "Small updates are kept as they are.")
    arithmetic = attrs.evolve(model, dtype=Dtype.AUTO) if model.dtype is Dtype.FLOAT32 else model
    return plan_compute(arithmetic, training, rail, hardware, origins)


def plan_rounding(precision: PrecisionPlan, optimizer: Optimizer) -> Decision[Rounding] | None:
    """How updates are rounded into bfloat16 weights; None when the weights are float32."""
    if precision.storage is not NumberFormat.BFLOAT16:
        return None
    if optimizer in ROUNDED_BY_US:
        return Decision(
            Rounding.STOCHASTIC,
            "bfloat16 weights",
            "Done by backprop's own AdamW; to the nearest, an update below 1/512 of its weight would be lost.",
        )
    return Decision(
        Rounding.NEAREST,
        f"optimizer {optimizer.value}",
        "Updates below 1/512 of their weight are lost; adamw_torch_fused keeps them, and so does --dtype float32.",
    )


def takes_own_adamw(optimizer: Optimizer, precision: PrecisionPlan, *, offloads: bool) -> bool:
    """Whether full fine-tuning steps with our own AdamW: for its rounding, and for sharded weights in host memory."""
    return optimizer in ROUNDED_BY_US and (offloads or precision.storage is NumberFormat.BFLOAT16)


def _check_trainable(settings: ModelSettings, model: ModelFacts, origins: Origins) -> Problem | None:
    if settings.load_in_4bit:
        where = name_of(origins, "model.load_in_4bit", "--load-in-4bit")
        return Problem(
            "CONFIG_INVALID_SETTING",
            f"{where} cannot go with --mode full: weights in 4 bits cannot be updated.",
            where=where,
            hint="Leave it out, or train an adapter with --mode lora.",
        )
    if model.is_quantized:
        return Problem(
            "CONFIG_INVALID_SETTING",
            f"--mode full cannot train {model.name}: its weights are stored quantized and cannot be updated.",
            where="--mode",
            hint="Name the unquantized model with --model, or train an adapter with --mode lora.",
        )
    return None
