"""Which rows are held out: whole clusters, ranked by a hash of what they say, until the asked share is met.

Ranks depend on nothing but content and seed. So equal and similar rows never stand on both sides, the order of the rows
does not matter, and rows that are added later move few of the others.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from backprop.plan.data.clusters import Clusters
from backprop.plan.data.words import mixed

Mask = npt.NDArray[np.bool_]
Digests = npt.NDArray[np.uint64]
"""(rows, 2): the 128 bits of each row's content."""


def divide(clusters: Clusters, digests: Digests, *, share: float, seed: int) -> Mask | None:
    """True for each row that is held out; None when all rows are of one cluster, or there is none.

    A cluster is held out when that brings the count nearer to the share; at least one stands on each side. Clusters of
    single rows meet the share exactly, others miss it by half of a cluster at most, as long as there are small ones.
    """
    heads, cluster_of, sizes = np.unique(clusters.first, return_inverse=True, return_counts=True)
    if len(heads) < 2:
        return None
    order = _ranked(cluster_of, digests, len(heads), seed)
    chosen = np.zeros(len(heads), bool)
    num_rows, held = len(cluster_of), 0
    wanted = share * num_rows
    for number, size in zip(order.tolist(), sizes[order].tolist(), strict=True):
        if 2 * held + size <= 2 * wanted and held + size < num_rows:
            chosen[number] = True
            held += size
        if held >= wanted:
            break
    if not held:
        chosen[order[np.argmin(sizes[order])]] = True
    held_out: Mask = chosen[cluster_of]
    return held_out


def _ranked(cluster_of: npt.NDArray[np.intp], digests: Digests, num_clusters: int, seed: int) -> npt.NDArray[np.intp]:
    """The clusters in the order of a hash of their smallest digest."""
    by_digest = np.lexsort((digests[:, 1], digests[:, 0]))
    smallest = np.full(num_clusters, len(by_digest), np.intp)
    places = np.arange(len(by_digest))
    np.minimum.at(smallest, cluster_of[by_digest], places)
    least = digests[by_digest[smallest]]
    return np.lexsort((least[:, 1], least[:, 0], mixed(least[:, 0] ^ mixed(np.array([seed], np.uint64)))))
