"""What ``estimate-vram`` answers; memory is in bytes, sizes of cards in GiB."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Problem, Remedy
from backprop.plan.memory.objective import Objective
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.settings.training import Optimizer, TrainMode
from backprop.plan.training.number_format import NumberFormat


@attrs.frozen
class Tier:
    """A row of the table by which ``--batch-size auto`` begins."""

    vram_gb: int
    """Nominal size of the card, at least, in GiB."""
    batch_size: int


@attrs.frozen
class Way:
    """A way to train the model, and the least that it takes on the card: one sequence, activations recomputed.

    Two sequences where the method needs them, nothing recomputed where the user said so.
    """

    name: str
    flags: str
    needed_bytes: int | None
    """None when it cannot be trained in this way, or is not predicted."""
    host_bytes: int
    fits: bool | None
    """None without a card, or when it is not predicted."""
    largest_batch: int | None
    """Sequences of the given length that fit at once; 0 when none does, None when ``fits`` is."""
    batch_size: int | None = None
    """What ``needed_bytes`` is for: sequences at once, recomputation, optimizer. None when it cannot be trained."""
    gradient_checkpointing: bool | None = None
    optimizer: Optimizer | None = None
    note: str = ""


@attrs.frozen
class RunShape:
    """What the memory of the run was computed for: what was asked, with all that was left out filled in."""

    method: Objective
    mode: TrainMode
    lora_rank: int | None
    """None in full fine-tuning, as the layers."""
    target_modules: tuple[str, ...] | None
    use_dora: bool
    load_in_4bit: bool
    dtype: NumberFormat
    """Of the arithmetic."""
    weights_dtype: NumberFormat
    """Of the weights that are not in 4 bits."""
    optimizer: Optimizer
    packing: bool
    batch_size: int
    gradient_accumulation: int
    gradient_checkpointing: bool
    full_ft_offload: bool


@attrs.frozen
class TermRow:
    """A part of the peak, by a name that stays."""

    id: str
    name: str
    bytes: int


@attrs.frozen
class CardRow:
    """What a common card holds: for each way the sequences that fit at once."""

    vram_gb: int
    cards: str
    largest_batch: tuple[tuple[str, int | None], ...]
    """(way, sequences), 0 where not even one fits, None where it is not predicted."""


@attrs.frozen
class EstimateReport:
    """The tier table, and what it means for this model on this card."""

    model: str
    model_from: str
    """What named it: MODEL, --model, a variable, a file, or ``default``."""
    num_parameters: int
    sequence_length: int
    unit: str
    """``GiB``: of everything that is named gb here."""
    card: str | None
    """The card that was looked at; None when there is none and none was named."""
    vram_gb: float | None
    free_gb: float | None
    free_bytes: int | None
    is_nominal: bool
    """The card was named by its size, and what is free of it is what such cards have."""
    host_free_bytes: int | None
    """Of the machine's memory, for offload; None when unknown."""
    tiers: tuple[Tier, ...]
    tier_batch_size: int
    """The tier's, before the model is looked at."""
    recommended_batch_size: int
    """What ``--batch-size auto`` picks: the tier's, lowered until the model fits."""
    gradient_accumulation: int
    """Passes that keep the update at the same number of sequences."""
    gradient_checkpointing: bool
    fits: bool | None
    """Whether ``train`` takes it; None without a card, and where memory is not predicted."""
    refusal: str
    """Why ``train`` refuses it whatever memory says; empty where memory decides."""
    why_not: str
    """What is missing where it does not fit."""
    run: RunShape
    memory: MemoryPlan | None
    """None for models whose memory is not modelled, and for a method that the mode does not have."""
    terms: tuple[TermRow, ...]
    """The terms of ``memory``."""
    peak_bytes: int | None
    reserved_bytes: int | None
    needed_bytes: int | None
    largest_batch: int | None
    largest_sequence: int | None
    """Tokens of one sequence that still fit, at most the model's context."""
    ways: tuple[Way, ...]
    remedies: tuple[Remedy, ...]
    """What would make it fit; empty when it does."""
    cards: tuple[CardRow, ...]
    """Common cards; only where no card is here and none was named."""
    notes: tuple[str, ...] = ()
    """What else is worth knowing, a sentence each."""
    warnings: tuple[Problem, ...] = ()
