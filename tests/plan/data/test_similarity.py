from __future__ import annotations

import numpy as np
import pytest

from backprop.plan.data.similarity import (
    bitmaps,
    bucket_bits,
    bucket_of,
    may_be_similar,
    prefix_lengths,
    rank_buckets,
    sharing,
    similarity,
)


def hashes(count: int, *, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def test_similarity_is_what_is_shared_of_what_either_has() -> None:
    one = hashes(19)
    assert similarity(one, one[1:]) == 18 / 19
    assert (similarity(one, one), similarity(one, hashes(5, seed=1))) == (1.0, 0.0)


@pytest.mark.parametrize(("size", "threshold", "length"), [(150, 0.9, 16), (10, 0.9, 2), (1, 0.9, 1), (20, 1.0, 1)])
def test_a_prefix_holds_what_similar_sets_share_one_of(size: int, threshold: float, length: int) -> None:
    assert prefix_lengths(np.array([size]), threshold).tolist() == [length]


def test_a_prefix_is_never_longer_than_its_set() -> None:
    assert prefix_lengths(np.array([1, 7]), 1e-12).tolist() == [1, 7]


def test_keys_order_rare_hashes_first_and_no_two_share_one() -> None:
    values = hashes(5000)
    bits = bucket_bits(len(values))
    counts = np.bincount(bucket_of(values, bits), minlength=1 << bits).astype(np.uint32)
    ranking = rank_buckets(counts)
    keys = ranking.keys(values)
    assert len(set(keys.tolist())) == len(values)
    ordered = counts[bucket_of(values[np.argsort(keys)], bits)]
    assert (np.diff(ordered.astype(np.int64)) >= 0).all()


def test_bitmaps_never_rule_out_a_similar_pair() -> None:
    for seed in range(200):
        one = hashes(100, seed=seed)
        other = np.concatenate((one[:95], hashes(5, seed=seed + 1000)))
        maps = bitmaps(np.concatenate((one, other)), np.array([0, 100]))
        assert may_be_similar(maps[0], maps[1], np.array(200), 95 / 105)


def test_bitmaps_rule_out_most_pairs_that_share_little() -> None:
    maps = bitmaps(hashes(200 * 100), np.arange(0, 200 * 100, 100))
    possible = may_be_similar(maps[:100], maps[100:], np.full(100, 200), 0.8)
    assert possible.sum() == 0


def test_what_stands_in_one_set_only_is_in_no_group() -> None:
    empty = sharing(hashes(3), np.arange(3), np.zeros(3, np.int64), np.full(3, 10), 0.9)
    assert len(empty.sets) == 0


def test_sets_out_of_reach_by_their_size_are_not_paired() -> None:
    keys = np.full(4, 7, np.uint64)
    groups = sharing(keys, np.arange(4), np.zeros(4, np.int64), np.array([10, 30, 11, 9]), 0.9)
    assert groups.sizes.tolist() == [9, 10, 11, 30]
    assert groups.stops.tolist() == [2, 3, 3, 4]
    assert groups.ends.tolist() == [4] * 4


def test_what_comes_late_in_both_sets_is_not_paired() -> None:
    keys = np.full(2, 7, np.uint64)
    together = sharing(keys, np.arange(2), np.array([0, 0]), np.array([20, 20]), 0.9)
    apart = sharing(keys, np.arange(2), np.array([2, 2]), np.array([20, 20]), 0.9)
    assert (together.stops.tolist(), apart.stops.tolist()) == ([2, 2], [0, 0])
