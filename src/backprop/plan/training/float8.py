"""Base weights in float8: which layers, on which cards, and what is done where that cannot be."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Decision, Problem, warning
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.number_format import NumberFormat
from backprop.plan.training.precision import Float8Plan, PrecisionPlan
from backprop.plan.training.rail import Rail

FLOAT8_CAPABILITY = (9, 0)
"""Hopper and later; Blackwell is 10 and 12."""
TENSOR_CORE_MULTIPLE = 16
"""Both sides of a matrix must be multiples of this (``torch._scaled_mm``)."""
FALLBACK = Decision(False, "fallback of --fp8", "--fp8 cannot be heeded here; the weights are held whole.")


def plan_float8(
    settings: TrainSettings,
    precision: PrecisionPlan,
    *,
    rail: Rail,
    model: ModelFacts,
    hardware: HardwareFacts,
    software: SoftwareFacts,
    origins: Origins,
) -> PrecisionPlan | Problem:
    """``precision`` with float8 weights where they were asked for and can be, whole ones where they cannot.

    What cannot stand beside --fp8 is a problem, and so is a missing torchao where the card could.
    """
    if not settings.training.fp8 or settings.training.mode is TrainMode.FULL:
        return precision
    contradiction = _contradiction(settings, origins)
    if contradiction is not None:
        return contradiction
    if _unfit(precision, rail, model, hardware):
        return precision if model.is_quantized else attrs.evolve(precision, load_in_4bit=FALLBACK)
    if not software.has("torchao"):
        return Problem(
            "DEP_PACKAGE_MISSING",
            "float8 weights need the package torchao, which is not installed.",
            where=_where(origins),
            hint="pip install torchao, or leave out --fp8.",
        )
    layers, kept = _split(model)
    why = f"float8 (e4m3) with one scale a matrix; {_named(kept)}embeddings, norms and head stay bfloat16."
    in_8bit = Decision(False, "--fp8", "The weights are held in float8.")
    return attrs.evolve(
        precision, load_in_4bit=in_8bit, float8=Float8Plan(Decision(layers, _where(origins), why), kept)
    )


def check_float8(
    settings: TrainSettings,
    precision: PrecisionPlan,
    *,
    rail: Rail,
    model: ModelFacts,
    hardware: HardwareFacts,
    origins: Origins,
) -> tuple[Problem, ...]:
    """A warning where --fp8 is not heeded."""
    if not settings.training.fp8 or settings.training.mode is TrainMode.FULL or precision.float8 is not None:
        return ()
    reason = _unfit(precision, rail, model, hardware)
    held = precision.weights if not model.is_quantized else "their own quantization"
    return (
        warning(
            "RUNTIME_FP8_UNSUPPORTED",
            f"--fp8 is not heeded: {reason}. The base weights are held in {held}.",
            where=_where(origins),
            hint="Leave out --fp8; on a CUDA card --load-in-4bit holds the weights in less.",
        ),
    )


def _contradiction(settings: TrainSettings, origins: Origins) -> Problem | None:
    """Flags that ask for other base weights, or that read them back whole in every step."""
    other = "--load-in-4bit" if settings.model.load_in_4bit else "--use-dora" if settings.lora.use_dora else None
    if other is None:
        return None
    reasons = {
        "--load-in-4bit": "weights are held in one format",
        "--use-dora": "DoRA takes the norm of every weight in every step, which float8 would round",
    }
    where = _where(origins)
    return Problem(
        "CONFIG_INVALID_SETTING",
        f"{where} and {other} cannot both be on: {reasons[other]}.",
        where=f"{where}, {other}",
        hint="Keep one.",
    )


def _unfit(precision: PrecisionPlan, rail: Rail, model: ModelFacts, hardware: HardwareFacts) -> str:
    """Why the weights cannot be held in float8; empty when they can."""
    gpu = hardware.gpu
    if rail is not Rail.CUDA or gpu is None:
        return "float8 is multiplied on NVIDIA cards only, and this run is on the processor"
    if gpu.compute_capability is None or gpu.compute_capability < FLOAT8_CAPABILITY:
        has = "unknown" if gpu.compute_capability is None else "{}.{}".format(*gpu.compute_capability)
        return f"it needs compute capability 9.0 (Hopper, Blackwell), and that of {gpu.name} is {has}"
    if model.is_quantized:
        return f"the weights of {model.name} are stored quantized"
    if precision.compute.value is not NumberFormat.BFLOAT16:
        return f"its results are bfloat16, and the arithmetic is {precision.compute.value.value}"
    if not _split(model)[0]:
        return f"no linear layer of {model.name} has sides that are multiples of {TENSOR_CORE_MULTIPLE}"
    return ""


def _split(model: ModelFacts) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the linear layers that become float8, and of those that stay as they are."""
    fits = {
        layer.name: layer.in_features % TENSOR_CORE_MULTIPLE == 0 and layer.out_features % TENSOR_CORE_MULTIPLE == 0
        for layer in model.linear_layers
    }
    return tuple(n for n, fit in fits.items() if fit), tuple(n for n, fit in fits.items() if not fit)


def _named(kept: tuple[str, ...]) -> str:
    return f"{', '.join(kept)}, " if kept else ""


def _where(origins: Origins) -> str:
    origin = origins.of("training.fp8")
    return origin.name if origin else "--fp8"
