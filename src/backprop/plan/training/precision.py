"""In which number formats the base weights are held and the arithmetic is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import attrs

from backprop.plan.decision import Decision, Problem, warning
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.settings.model import ModelSettings
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainingSettings
from backprop.plan.training.chosen import given, name_of
from backprop.plan.training.number_format import NumberFormat, stated_formats
from backprop.plan.training.rail import Rail


@attrs.frozen
class Float8Plan:
    """Linear layers whose frozen weights are held in float8, and multiplied in it."""

    layers: Decision[tuple[str, ...]]
    kept: tuple[str, ...]
    """Linear layers that stay as they are: their sides are no multiples of 16."""


@attrs.frozen
class PrecisionPlan:
    """Formats of weights and arithmetic; adapters are float32, over a 4-bit base bfloat16 as TRL holds them.

    Where the loss is scaled they are float32 over that, too: torch unscales no bfloat16 gradients.
    """

    load_in_4bit: Decision[bool]
    """NF4 with double quantization; the arithmetic is still done in ``compute``."""
    compute: Decision[NumberFormat]
    """The format of the arithmetic, and of the weights when they are neither in 4 bits nor ``held`` in another."""
    held: Decision[NumberFormat] | None = None
    """The format of weights that are trained in another than the arithmetic's: mixed precision."""
    float8: Float8Plan | None = None
    """Base weights in float8; None where they are in ``storage`` or in 4 bits."""

    @property
    def storage(self) -> NumberFormat:
        """The format of the weights that are not in 4 bits."""
        return self.held.value if self.held else self.compute.value

    @property
    def scales_loss(self) -> bool:
        """The loss is scaled up before the backward pass, lest gradients in float16 underflow."""
        return self.compute.value is NumberFormat.FLOAT16

    @property
    def weights(self) -> str:
        """How the base weights are held, for a person."""
        if self.float8 is not None:
            return "float8 (e4m3)"
        return "NF4 (4-bit)" if self.load_in_4bit.value else self.storage.value


def plan_precision(
    model_settings: ModelSettings,
    training: TrainingSettings,
    *,
    rail: Rail,
    model: ModelFacts,
    hardware: HardwareFacts,
    software: SoftwareFacts,
    origins: Origins,
    in_4bit: Decision[bool] | None = None,
) -> PrecisionPlan | Problem:
    """4-bit by default only on CUDA; bfloat16 where the hardware multiplies it natively.

    ``in_4bit`` stands in for the rule of training when the caller has one of its own.
    """
    compute = plan_compute(model_settings, training, rail, hardware, origins)
    if isinstance(compute, Problem):
        return compute
    decided = in_4bit or _in_4bit(model_settings, rail, model, software, origins)
    return decided if isinstance(decided, Problem) else PrecisionPlan(load_in_4bit=decided, compute=compute)


def check_quantized(settings: ModelSettings, model: ModelFacts, *, origins: Origins) -> tuple[Problem, ...]:
    """A warning where 4-bit weights are asked for and the repository's own quantization stays."""
    if not (settings.load_in_4bit and model.is_quantized):
        return ()
    name = name_of(origins, "model.load_in_4bit", "--load-in-4bit")
    return (
        warning(
            "CONFIG_INVALID_SETTING",
            f"{name} has no effect: the weights of {model.name} are stored quantized, and stay as they are.",
            where=name,
            hint="Leave it out, or name the unquantized model with --model.",
        ),
    )


def plan_compute(
    model: ModelSettings, training: TrainingSettings, rail: Rail, hardware: HardwareFacts, origins: Origins
) -> Decision[NumberFormat] | Problem:
    """The format of the arithmetic: as asked, else what the hardware multiplies natively and is not ruled out."""
    stated = stated_formats(model, training, origins)
    if isinstance(stated, Problem):
        return stated
    wanted = next((one for one in stated if one.is_wanted), None)
    if wanted is not None:
        if rail is not Rail.CUDA and wanted.format is NumberFormat.FLOAT16:
            place = "CPU" if rail is Rail.CPU else "MLX rail"
            return Problem(
                "CONFIG_INVALID_SETTING",
                f"float16 cannot be trained on the {place}: its gradients underflow and there is no loss scaling.",
                where=wanted.name,
                hint="Use bfloat16 or float32.",
            )
        return Decision(wanted.format, f"set by {wanted.name}", "You asked for it.")
    ruled_out = {one.format: f"set by {one.name}" for one in stated}
    match rail:
        case Rail.CPU:
            return _on_the_cpu(hardware, ruled_out)
        case Rail.MLX:
            return _on_an_apple_chip(ruled_out)
        case Rail.CUDA:
            return _on_a_card(hardware, ruled_out)
    assert_never(rail)


def _on_the_cpu(hardware: HardwareFacts, ruled_out: Mapping[NumberFormat, str]) -> Decision[NumberFormat]:
    if not hardware.cpu_has_bf16:
        return Decision(NumberFormat.FLOAT32, "no native bf16", "The processor would emulate bfloat16, slowly.")
    if NumberFormat.BFLOAT16 in ruled_out:
        rule = ruled_out[NumberFormat.BFLOAT16]
        return Decision(NumberFormat.FLOAT32, rule, "The processor multiplies bfloat16 natively, but is not to use it.")
    return Decision(NumberFormat.BFLOAT16, "native bf16", "The processor multiplies bfloat16 natively.")


def _on_an_apple_chip(ruled_out: Mapping[NumberFormat, str]) -> Decision[NumberFormat]:
    if NumberFormat.BFLOAT16 in ruled_out:
        rule = ruled_out[NumberFormat.BFLOAT16]
        return Decision(NumberFormat.FLOAT32, rule, "float16 has no loss scaling on the MLX rail.")
    return Decision(NumberFormat.BFLOAT16, "MLX", "Half of float32's memory, with its range.")


def _on_a_card(hardware: HardwareFacts, ruled_out: Mapping[NumberFormat, str]) -> Decision[NumberFormat]:
    has_bf16 = hardware.gpu is None or hardware.gpu.has_bf16
    no_bf16, no_fp16 = ruled_out.get(NumberFormat.BFLOAT16), ruled_out.get(NumberFormat.FLOAT16)
    if hardware.gpu is None and no_bf16 is None:
        return Decision(NumberFormat.BFLOAT16, "no card is named", "One that multiplies bfloat16 natively is assumed.")
    if has_bf16 and no_bf16 is None:
        return Decision(NumberFormat.BFLOAT16, "compute capability 8.0", "The card multiplies bfloat16 natively.")
    if no_fp16 is not None:
        why = "Neither half format is to be used." if has_bf16 else "The card's only half format is not to be used."
        return Decision(NumberFormat.FLOAT32, no_fp16, why)
    if has_bf16 and no_bf16 is not None:
        return Decision(NumberFormat.FLOAT16, no_bf16, "The card has bfloat16, but is not to use it.")
    return Decision(NumberFormat.FLOAT16, "below compute capability 8.0", "The card has float16 but no bfloat16.")


def _in_4bit(
    settings: ModelSettings, rail: Rail, model: ModelFacts, software: SoftwareFacts, origins: Origins
) -> Decision[bool] | Problem:
    asked = settings.load_in_4bit
    if model.is_quantized:
        return Decision(False, "already quantized", "The repository's weights carry their own quantization.")
    if asked and not software.has("bitsandbytes"):
        return Problem(
            "DEP_PACKAGE_MISSING",
            "4-bit weights need the package bitsandbytes, which is not installed.",
            where=name_of(origins, "model.load_in_4bit", "--load-in-4bit"),
            hint="pip install bitsandbytes, or pass --no-load-in-4bit.",
        )
    if asked is not None:
        return given(origins, "model.load_in_4bit", asked)
    if rail is Rail.MLX:
        return Decision(False, "MLX", "NF4 is bitsandbytes' format, which MLX does not read.")
    if rail is Rail.CPU:
        return Decision(False, "CPU", "On the CPU 4-bit weights are slower, and memory is not the limit.")
    if not software.has("bitsandbytes"):
        return Decision(False, "bitsandbytes is missing", "4-bit weights need the package bitsandbytes.")
    return Decision(True, "CUDA adapter training", "NF4 holds the frozen base in about a quarter of the memory.")
