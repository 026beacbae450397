"""What ``estimate-vram`` answers; memory is in bytes, sizes of cards in GiB."""

from __future__ import annotations

import attrs

from backprop.plan.memory.plan import MemoryPlan


@attrs.frozen
class Tier:
    """A row of the table by which ``--batch-size auto`` begins."""

    vram_gb: int
    """Nominal size of the card, at least, in GiB."""
    batch_size: int


@attrs.frozen
class Way:
    """A way to train the model, and the least that it takes on the card: one sequence, activations recomputed."""

    name: str
    flags: str
    needed_bytes: int | None
    """None when it cannot be trained in this way, or is not predicted."""
    host_bytes: int
    fits: bool
    largest_batch: int
    """Sequences of the given length that fit at once; 0 when none does."""
    note: str = ""


@attrs.frozen
class Remedy:
    """Flags that make the run fit, and what it takes with them."""

    flags: str
    needed_bytes: int


@attrs.frozen
class CardRow:
    """What a common card holds: for each way the sequences that fit at once."""

    vram_gb: int
    cards: str
    largest_batch: tuple[tuple[str, int], ...]
    """(way, sequences), 0 where not even one fits."""


@attrs.frozen
class EstimateReport:
    """The tier table, and what it means for this model on this card."""

    model: str
    num_parameters: int
    sequence_length: int
    unit: str
    """``GiB``: of everything that is named gb here."""
    card: str | None
    """The card that was looked at; None when there is none and none was named."""
    vram_gb: float | None
    free_gb: float | None
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
    note: str
    """What is guessed about the model, or why its memory is not predicted; empty where neither is so."""
    memory: MemoryPlan | None
    """None for models whose memory is not modelled."""
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
