"""What the training minimises: the method, as far as memory and data differ."""

from __future__ import annotations

import enum


class Objective(enum.Enum):
    """The loss: of answers to learn, of pairs of answers, or of answers that are good or bad."""

    SFT = "sft"
    ORPO = "orpo"
    SIMPO = "simpo"
    KTO = "kto"

    @property
    def is_paired(self) -> bool:
        """A row is a chosen and a rejected sequence, which go through the model side by side."""
        return self in (Objective.ORPO, Objective.SIMPO)

    @property
    def sequences_per_row(self) -> int:
        """Sequences of one forward pass for each row of the batch."""
        return 2 if self.is_paired else 1

    @property
    def fewest_rows(self) -> int:
        """Rows that have to go through the model at once: the divergence that KTO estimates takes two."""
        return 2 if self is Objective.KTO else 1

    @property
    def passes_without_gradients(self) -> int:
        """Forward passes of each row beside that of the loss: KTO's by the base model, and two for the divergence."""
        return 3 if self is Objective.KTO else 0
