"""What an adapter's first weights are made of, what making them costs, and which weights they need."""

from __future__ import annotations

import math

import attrs

from backprop.plan.decision import Decision, Problem
from backprop.plan.facts.model import ModelFacts
from backprop.plan.settings.lora import AdapterInit, LoraSettings
from backprop.plan.settings.model import ModelSettings
from backprop.plan.settings.resolve import Origins
from backprop.plan.training.chosen import given
from backprop.plan.training.precision import PrecisionPlan

LOFTQ_ITERATIONS = 5
"""Alternations of quantizing and decomposing, as in most of the paper's tables (arXiv:2310.08659, section 4)."""
EXACT_UP_TO = 1024
"""Smaller side of a matrix up to which all its singular vectors are computed: a second on one core."""
POWER_ITERATIONS = 8
"""Of the randomized decomposition of larger ones (Halko, arXiv:0909.4061); PiSSA's tables go up to 16."""
OVERSAMPLING = 16
"""Directions beyond the rank that it looks for."""


@attrs.frozen
class InitialPlan:
    """First weights that are computed from the model's own."""

    kind: Decision[AdapterInit]
    iterations: int
    """Decompositions of each matrix."""
    flops: float
    """Floating-point operations of all of them."""
    matrix_bytes: int
    """Memory that the largest matrix takes while it is decomposed, given back before training."""
    handed_over_rank: int
    """Of the adapter as it is written: the trained one and the first one, subtracted, side by side."""


FOR_LOFTQ = Decision(True, "--init-lora-weights loftq", "It prepares an adapter for weights in 4 bits.")


def asks_for_4bit(lora: LoraSettings, settings: ModelSettings, model: ModelFacts) -> bool:
    """Whether the weights are to be in 4 bits for LoftQ's sake alone, on whatever rail."""
    return lora.init_lora_weights is AdapterInit.LOFTQ and settings.load_in_4bit is None and not model.is_quantized


def plan_initial(
    settings: LoraSettings, model: ModelFacts, *, rank: int, targets: tuple[str, ...], origins: Origins
) -> InitialPlan | None:
    """The cost of the first weights; None where they are random."""
    kind = settings.init_lora_weights
    if kind is AdapterInit.DEFAULT:
        return None
    iterations = LOFTQ_ITERATIONS if kind is AdapterInit.LOFTQ else 1
    layers = [one for one in model.linear_layers if one.name in targets]
    sides = [(one.in_features, one.out_features) for one in layers]
    flops = sum(one.times(model.num_layers) * _flops(*side, rank=rank) for one, side in zip(layers, sides, strict=True))
    return InitialPlan(
        kind=given(origins, "lora.init_lora_weights", kind),
        iterations=iterations,
        flops=iterations * flops,
        matrix_bytes=max((_bytes(*side, rank=rank) for side in sides), default=0),
        handed_over_rank=2 * rank,
    )


def is_exact(rows: int, columns: int, *, rank: int) -> bool:
    """Whether all singular vectors of a matrix are computed rather than the first ``rank`` looked for."""
    side = min(rows, columns)
    return side <= EXACT_UP_TO or 4 * (rank + OVERSAMPLING) > side


def _flops(rows: int, columns: int, *, rank: int) -> float:
    side, other = min(rows, columns), max(rows, columns)
    if is_exact(rows, columns, rank=rank):
        # LAPACK's divide and conquer with both factors (Golub & Van Loan, table 8.6.1, R-SVD).
        return 4.0 * other * side**2 + 22.0 * side**3
    products = 2 * POWER_ITERATIONS + 2
    return products * 2.0 * rows * columns * (rank + OVERSAMPLING)


def _bytes(rows: int, columns: int, *, rank: int) -> int:
    """float32: the matrix, what is left of it, their product, and the factors."""
    width = min(rows, columns) if is_exact(rows, columns, rank=rank) else rank + OVERSAMPLING
    return 4 * (3 * rows * columns + 2 * width * (rows + columns))


def check_initial(
    settings: LoraSettings, model: ModelFacts, precision: PrecisionPlan, *, origins: Origins
) -> tuple[Problem, ...]:
    """Weights that are not there to be decomposed, or not in the format that the first weights are for."""
    kind = settings.init_lora_weights
    if kind is AdapterInit.DEFAULT:
        return ()
    origin = origins.of("lora.init_lora_weights")
    where = origin.name if origin else "--init-lora-weights"
    if model.is_quantized:
        return (
            Problem(
                "CONFIG_INVALID_SETTING",
                f"{where} {kind.value} needs weights before quantization, and {model.name} has only quantized ones.",
                where=where,
                hint="Name the unquantized model with --model: with --load-in-4bit it is quantized here.",
            ),
        )
    if kind is AdapterInit.LOFTQ and not precision.load_in_4bit.value:
        reason = precision.load_in_4bit.rule
        return (
            Problem(
                "CONFIG_INVALID_SETTING",
                f"{where} loftq makes up for what 4-bit weights lose, and these are not in 4 bits ({reason}).",
                where=where,
                hint="Pass --load-in-4bit, or choose --init-lora-weights pissa.",
            ),
        )
    return ()


def default_alpha(rank: int, *, rank_stabilized: bool) -> Decision[float]:
    """Alpha for a scale of 2, which both presets have, whatever divides it."""
    if rank_stabilized:
        why = "The scale alpha / square root of the rank stays 2 (arXiv:2312.03732)."
        return Decision(2.0 * math.sqrt(rank), "twice the square root of the rank", why)
    return Decision(2.0 * rank, "twice the rank", "Alpha follows the rank, so the scale stays 2.")
