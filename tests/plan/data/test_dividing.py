"""Which rows are held out."""

from __future__ import annotations

import numpy as np

from backprop.plan.data.clusters import Clusters
from backprop.plan.data.dividing import divide


def clusters(*first: int) -> Clusters:
    return Clusters(np.array(first, np.uint32))


def digests(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    return np.random.default_rng(0).integers(0, 2**63, (count, 2)).astype(np.uint64)


def test_single_rows_meet_the_share_exactly() -> None:
    held = divide(clusters(*range(1000)), digests(1000), share=0.1, seed=0)
    assert held is not None
    assert held.sum() == 100


def test_another_seed_holds_out_other_rows() -> None:
    rows = clusters(*range(1000))
    one, other = (divide(rows, digests(1000), share=0.1, seed=seed) for seed in (0, 1))
    assert one is not None
    assert other is not None
    assert 0 < (one & other).sum() < 50


def test_a_cluster_that_would_overshoot_is_passed_over() -> None:
    first = [0] * 60 + list(range(60, 100))
    held = divide(clusters(*first), digests(100), share=0.1, seed=0)
    assert held is not None
    assert held.sum() == 10
    assert not held[:60].any()


def test_where_all_clusters_are_too_large_the_smallest_is_held_out() -> None:
    held = divide(clusters(*[0] * 60, *[60] * 40), digests(100), share=0.1, seed=3)
    assert held is not None
    assert held.tolist() == [False] * 60 + [True] * 40


def test_each_side_has_a_row() -> None:
    for share in (0.001, 0.999):
        held = divide(clusters(0, 1), digests(2), share=share, seed=0)
        assert held is not None
        assert held.sum() == 1


def test_one_cluster_cannot_be_divided() -> None:
    assert divide(clusters(0, 0, 0), digests(3), share=0.5, seed=0) is None
    assert divide(clusters(), digests(0), share=0.5, seed=0) is None
