from __future__ import annotations

import numpy as np

from backprop.plan.data.clusters import Union, connected


def rows(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.array(numbers, np.uint32)


def test_rows_linked_by_others_stand_together() -> None:
    clusters = connected(7, rows(5, 3, 6), rows(3, 1, 2))
    assert clusters.first.tolist() == [0, 1, 2, 1, 4, 1, 2]
    assert [group.tolist() for group in clusters.groups()] == [[1, 3, 5], [2, 6]]
    assert clusters.num_removable == 3


def test_without_pairs_every_row_stands_alone() -> None:
    clusters = connected(3, rows(), rows())
    assert (clusters.first.tolist(), clusters.groups(), clusters.num_removable) == ([0, 1, 2], (), 0)


def test_long_chains_and_stars_become_one_cluster() -> None:
    chain, star = np.arange(9999, dtype=np.uint32), rows(*[9999] * 9999)
    for left, right in ((chain, chain + 1), (chain[::-1], chain[::-1] + 1), (chain, star)):
        assert not connected(10_000, left, right.astype(np.uint32)).first.any()


def test_a_union_says_whether_it_was_news() -> None:
    union = Union(4)
    assert [union.unite(3, 2), union.unite(2, 1), union.unite(1, 3)] == [True, True, False]
    assert [union.root(number) for number in range(4)] == [0, 1, 1, 1]
