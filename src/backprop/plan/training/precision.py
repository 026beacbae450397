"""In which number formats the base weights are held and the arithmetic is done."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.decision import Decision, Problem
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.settings.model import Dtype, ModelSettings
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainingSettings
from backprop.plan.training.chosen import given
from backprop.plan.training.rail import Rail


class NumberFormat(enum.Enum):
    """A floating-point format, by torch's name."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"

    @property
    def num_bytes(self) -> int:
        """Of one number."""
        return 4 if self is NumberFormat.FLOAT32 else 2


@attrs.frozen
class PrecisionPlan:
    """Formats of weights and arithmetic; adapters are float32, over a 4-bit base bfloat16 as TRL holds them."""

    load_in_4bit: Decision[bool]
    """NF4 with double quantization; the arithmetic is still done in ``compute``."""
    compute: Decision[NumberFormat]
    """The format of the arithmetic, and of the weights when they are neither in 4 bits nor ``held`` in another."""
    held: Decision[NumberFormat] | None = None
    """The format of weights that are trained in another than the arithmetic's: mixed precision."""

    @property
    def storage(self) -> NumberFormat:
        """The format of the weights that are not in 4 bits."""
        return self.held.value if self.held else self.compute.value

    @property
    def weights(self) -> str:
        """How the base weights are held, for a person."""
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
    wrong = check_formats(training, rail, compute)
    if wrong is not None:
        return wrong
    decided = in_4bit or _in_4bit(model_settings, rail, model, software, origins)
    return decided if isinstance(decided, Problem) else PrecisionPlan(load_in_4bit=decided, compute=compute)


def check_formats(training: TrainingSettings, rail: Rail, compute: Decision[NumberFormat]) -> Problem | None:
    """Whether the arithmetic is one that trains."""
    if training.bf16 and training.fp16:
        return Problem(
            "CONFIG_INVALID_SETTING", "--bf16 and --fp16 cannot both be on.", where="--bf16, --fp16", hint="Keep one."
        )
    if rail is not Rail.CUDA and compute.value is NumberFormat.FLOAT16:
        place = "CPU" if rail is Rail.CPU else "MLX rail"
        return Problem(
            "CONFIG_INVALID_SETTING",
            f"float16 cannot be trained on the {place}: its gradients underflow and there is no loss scaling.",
            where=compute.rule.removeprefix("set by "),
            hint="Use bfloat16 or float32.",
        )
    return None


def plan_compute(
    model: ModelSettings, training: TrainingSettings, rail: Rail, hardware: HardwareFacts, origins: Origins
) -> Decision[NumberFormat]:
    """The format of the arithmetic: the user's, else what the hardware multiplies natively."""
    if training.bf16:
        return given(origins, "training.bf16", NumberFormat.BFLOAT16)
    if training.fp16:
        return given(origins, "training.fp16", NumberFormat.FLOAT16)
    if model.dtype is not Dtype.AUTO:
        return given(origins, "model.dtype", NumberFormat(model.dtype.value))
    may_use_bf16 = training.bf16 is not False
    if rail is Rail.CPU:
        if hardware.cpu_has_bf16 and may_use_bf16:
            return Decision(NumberFormat.BFLOAT16, "native bf16", "The processor multiplies bfloat16 natively.")
        return Decision(NumberFormat.FLOAT32, "no native bf16", "The processor would emulate bfloat16, slowly.")
    if rail is Rail.MLX:
        if may_use_bf16:
            return Decision(NumberFormat.BFLOAT16, "MLX", "Half of float32's memory, with its range.")
        return Decision(NumberFormat.FLOAT32, "--no-bf16", "float16 has no loss scaling on the MLX rail.")
    gpu = hardware.gpu
    if gpu is None and may_use_bf16:
        return Decision(NumberFormat.BFLOAT16, "no card is named", "One that multiplies bfloat16 natively is assumed.")
    if gpu is not None and gpu.has_bf16 and may_use_bf16:
        return Decision(NumberFormat.BFLOAT16, "compute capability 8.0", "The card multiplies bfloat16 natively.")
    if training.fp16 is False:
        return Decision(NumberFormat.FLOAT32, "--no-fp16", "Neither half format is to be used.")
    return Decision(NumberFormat.FLOAT16, "below compute capability 8.0", "The card has float16 but no bfloat16.")


def _in_4bit(
    settings: ModelSettings, rail: Rail, model: ModelFacts, software: SoftwareFacts, origins: Origins
) -> Decision[bool] | Problem:
    asked = settings.load_in_4bit
    if model.is_quantized:
        return Decision(False, "already quantized", "The repository's weights carry their own quantization.")
    if asked and not software.has("bitsandbytes"):
        origin = origins.of("model.load_in_4bit")
        return Problem(
            "DEP_PACKAGE_MISSING",
            "4-bit weights need the package bitsandbytes, which is not installed.",
            where=origin.name if origin else "--load-in-4bit",
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
