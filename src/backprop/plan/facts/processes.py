"""The processes that train together, as their launcher tells each of them."""

from __future__ import annotations

import attrs


@attrs.frozen
class Processes:
    """How many processes `torchrun` or `accelerate launch` has started, and which of them this one is."""

    count: int = 1
    rank: int = 0
    """From 0; the first process alone writes and tells."""
    local_rank: int = 0
    """Which card of this machine is this process's."""
    local_count: int = 1
    """Processes on this machine."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes history and checkpoints."""
        return self.rank == 0


SINGLE = Processes()
"""A command that nobody launched several times."""
