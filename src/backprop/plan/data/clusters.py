"""Rows that stand more than once: which belong together, and how many could go."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.uint32]
"""Row numbers, from 0 in the order of the file."""


@attrs.frozen(eq=False)
class Clusters:
    """A partition of the rows."""

    first: Rows
    """(rows,): of each row the first row of its cluster; itself for a row that stands alone. Keeping the rows with
    ``first[row] == row`` keeps one of each cluster."""

    @property
    def num_removable(self) -> int:
        """Rows that are not the first of their cluster."""
        return int(np.count_nonzero(self.first != np.arange(len(self.first), dtype=np.uint32)))

    def groups(self) -> tuple[Rows, ...]:
        """The clusters of two rows and more, each ascending, in the order of their first rows."""
        raise NotImplementedError


def connected(num_rows: int, left: Rows, right: Rows) -> Clusters:
    """The clusters in which ``left[i]`` and ``right[i]`` stand together, for every i."""
    raise NotImplementedError
