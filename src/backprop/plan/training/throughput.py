"""How much a step computes, and how long the run may take, before anything is measured.

A range, not a number: from the card's published peak and the share of it that training is known to reach. Once the run
is under way its measured rate takes the place of all this.
"""

from __future__ import annotations

import attrs

from backprop.plan.facts.cards import card_named
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts
from backprop.plan.memory.objective import Objective
from backprop.plan.training.adapter import AdapterPlan
from backprop.plan.training.number_format import NumberFormat
from backprop.plan.training.precision import PrecisionPlan
from backprop.plan.training.rail import Rail

UTILISATION = (0.2, 0.55)
"""Share of a card's dense peak that dense training reaches: PaLM (arXiv:2204.02311, table 3) lists 21 to 46 %, and
single-card fine-tuning of small models reports up to 55 %."""
UTILISATION_4BIT = (0.12, 0.45)
"""Over 4-bit weights: each is dequantized before it is multiplied."""
CPU_FLOPS_PER_CORE = (8e9, 60e9)
"""What a core sustains in training, from AVX2 without bfloat16 to AVX-512; assumed, and wide."""


@attrs.frozen
class ThroughputPlan:
    """What the run computes, and the range of its duration."""

    flops_per_token: float
    """Floating-point operations for one token, forward and backward; a multiplication and an addition count two."""
    tokens_per_step: float | None
    """Mean tokens of an update; None when the rows were not tokenized."""
    peak_flops: tuple[float, float] | None
    """Operations a second that can be expected, from the slowest to the fastest; None for an unknown card."""
    basis: str
    """Where the range comes from."""

    def seconds(self, steps: int) -> tuple[float, float] | None:
        """(shortest, longest) duration of ``steps`` updates, loading and evaluations left out."""
        if self.tokens_per_step is None:
            return None
        return self.seconds_of(steps * self.tokens_per_step * self.flops_per_token)

    def seconds_of(self, work: float) -> tuple[float, float] | None:
        """(shortest, longest) duration of so many operations; None for an unknown card."""
        if self.peak_flops is None:
            return None
        slowest, fastest = self.peak_flops
        return work / fastest, work / slowest


def plan_throughput(
    model: ModelFacts,
    *,
    rail: Rail,
    hardware: HardwareFacts,
    precision: PrecisionPlan,
    adapter: AdapterPlan | None,
    recomputes: bool,
    sequence: int,
    tokens_per_step: float | None,
    objective: Objective = Objective.SFT,
) -> ThroughputPlan:
    """The work of a token, and the rates that the hardware may reach."""
    rates, basis = _rates(rail, hardware, precision)
    return ThroughputPlan(
        flops_per_token=flops_per_token(
            model, adapter=adapter, recomputes=recomputes, sequence=sequence, objective=objective
        ),
        tokens_per_step=tokens_per_step,
        peak_flops=rates,
        basis=basis,
    )


def flops_per_token(
    model: ModelFacts,
    *,
    adapter: AdapterPlan | None,
    recomputes: bool,
    sequence: int,
    objective: Objective = Objective.SFT,
) -> float:
    """Operations of forward and backward for one token of a sequence, on average over its positions.

    Two for each weight that a token passes, in forward, for the gradient of its input, and for its own gradient where
    it is trained (arXiv:2001.08361, section 2.1); attention 4·S·Q a layer, half of it under the causal mask, and
    twice that backward. Recomputation repeats the forward pass of the layers; the passes that an objective makes
    without gradients are forward ones, too.
    """
    embeddings = model.vocab_size * model.hidden_size
    head = embeddings
    layers = model.num_active_parameters - embeddings * (1 if model.tie_word_embeddings else 2)
    adapted = adapter.num_parameters if adapter else 0
    attention = 2.0 * sequence * model.num_heads * model.head_dim * model.num_layers
    forward = 2.0 * (layers + adapted) + attention
    own_gradients = 2.0 * (adapted if adapter else layers + head)
    passes = 3 if recomputes else 2
    without_gradients = objective.passes_without_gradients * (forward + 2.0 * head)
    return passes * forward + attention + 2 * 2.0 * head + own_gradients + without_gradients


def _rates(rail: Rail, hardware: HardwareFacts, precision: PrecisionPlan) -> tuple[tuple[float, float] | None, str]:
    gpu = hardware.gpu
    if rail is Rail.CPU or gpu is None:
        slow, fast = (hardware.num_cpus * rate for rate in CPU_FLOPS_PER_CORE)
        a_core = f"{CPU_FLOPS_PER_CORE[0] / 1e9:.0f} to {CPU_FLOPS_PER_CORE[1] / 1e9:.0f} GFLOP/s a core"
        return (slow, fast), f"{hardware.num_cpus} cores at {a_core}, assumed"
    card = card_named(gpu.name)
    if card is None:
        return None, f"no published figures are known for {gpu.name}"
    tflops = card.float32_tflops if precision.compute.value is NumberFormat.FLOAT32 else card.half_tflops
    low, high = UTILISATION_4BIT if precision.load_in_4bit.value else UTILISATION
    return (low * tflops * 1e12, high * tflops * 1e12), f"{low:.0%} to {high:.0%} of {tflops:g} TFLOP/s, published"
