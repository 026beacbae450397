"""What the training minimises, as far as its memory differs."""

from __future__ import annotations

import enum


class Objective(enum.Enum):
    """The loss and its trainer."""

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
    def has_reference(self) -> bool:
        """The loss asks the untrained model, too."""
        return self is Objective.KTO
