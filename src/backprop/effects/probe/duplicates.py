"""Which rows of a data set stand more than once, and which stand in another data set, too: exactly, at any size.

Use::

    # in worker processes, of each block of rows
    texts = [compared_text(example) for example in examples]
    digests, sets = digests_of(texts), shingles_of(texts)
    # in one process, in the order of the rows
    with DuplicateFinder(threshold=0.9) as finder:
        finder.add(digests, sets)
        finder.add_against(digests, sets)
        found = finder.finish()
"""

from __future__ import annotations

from types import TracebackType

import attrs

from backprop.plan.data.clusters import Clusters, Rows
from backprop.plan.data.shingles import Hashes, ShingleSets


@attrs.frozen(eq=False)
class Boilerplate:
    """Shingles that stand in at least half of the distinct rows, and in at least 20: they tell no rows apart."""

    hashes: Hashes
    """Ascending; :func:`backprop.plan.data.shingles.shared_excerpt` shows what of a text they are."""
    share: float
    """Of all shingles of the distinct rows, those that were not compared."""


@attrs.frozen
class SimilarPair:
    """Two rows of one cluster that are not equal."""

    row: int
    other: int
    similarity: float
    """Jaccard: shingles that both have / shingles that either has."""


@attrs.frozen(eq=False)
class Duplicates:
    """What stands more than once."""

    clusters: Clusters
    """Rows of equal text, and rows as similar as the threshold asks, with all that are linked by such pairs."""
    exact_removable: int
    """Rows that repeat the text of an earlier row."""
    near_removable: int
    """Rows that are not the first of their cluster, beyond those."""
    boilerplate: Boilerplate
    pairs: tuple[SimilarPair, ...]
    """For display: of the largest clusters the first row and the one most like it; at most 20."""
    contaminated: Rows
    """Rows equal or similar to a row of the other data set, ascending."""


class DuplicateFinder:
    """Takes rows block by block, then says which stand more than once.

    ``threshold`` is the similarity from which on rows are near duplicates, above 0 and at most 1 (equal sets of
    shingles); None finds equal texts only, and takes no shingles. The shingles are kept in a temporary file without a
    name, 8 bytes each; memory grows by some 40 bytes a row.
    """

    def __init__(self, *, threshold: float | None, num_processes: int = 1) -> None:
        raise NotImplementedError

    def add(self, digests: bytes, sets: ShingleSets | None) -> None:
        """Add rows: 16 bytes and a set of shingles each. Raises RUNTIME_DISK_FULL."""
        raise NotImplementedError

    def add_against(self, digests: bytes, sets: ShingleSets | None) -> None:
        """Add rows of the other data set. They count for nothing but contamination."""
        raise NotImplementedError

    def finish(self) -> Duplicates:
        """Compare all rows that were added; to be called once."""
        raise NotImplementedError

    def close(self) -> None:
        """Give the space back."""
        raise NotImplementedError

    def __enter__(self) -> DuplicateFinder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
