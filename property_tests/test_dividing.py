"""Laws of dividing: a partition by content, whatever the order of the rows, that later rows hardly move."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import assume, given
from hypothesis import strategies as st

from backprop.plan.data.clusters import Clusters, connected
from backprop.plan.data.dividing import divide

SHARES = st.floats(0.001, 0.999)
SEEDS = st.integers(0, 2**64 - 1)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Clusters, npt.NDArray[np.uint64]]:
    """Rows of which some share their text and some are linked."""
    contents = draw(st.lists(st.integers(0, 40), min_size=2, max_size=60))
    digests = np.random.default_rng(7).integers(0, 2**63, (41, 2)).astype(np.uint64)[contents]
    links = draw(st.lists(st.tuples(st.integers(0, len(contents) - 1), st.integers(0, len(contents) - 1)), max_size=10))
    equal = [(contents.index(content), row) for row, content in enumerate(contents)]
    left, right = (np.array(side, np.uint32) for side in zip(*equal, *links, strict=True))
    return connected(len(contents), left, right), digests


@given(worlds(), SHARES, SEEDS)
def test_no_cluster_stands_on_both_sides_and_no_side_is_empty(
    world: tuple[Clusters, npt.NDArray[np.uint64]], share: float, seed: int
) -> None:
    clusters, digests = world
    held = divide(clusters, digests, share=share, seed=seed)
    if held is None:
        assert len(set(clusters.first.tolist())) == 1
        return
    assert 0 < held.sum() < len(held)
    assert (held == held[clusters.first]).all()


@given(worlds(), SHARES, SEEDS)
def test_the_share_is_missed_by_one_cluster_at_most(
    world: tuple[Clusters, npt.NDArray[np.uint64]], share: float, seed: int
) -> None:
    clusters, digests = world
    held = divide(clusters, digests, share=share, seed=seed)
    assume(held is not None)
    assert held is not None
    sizes = np.unique(clusters.first, return_counts=True)[1]
    assert abs(held.sum() - share * len(held)) <= max(sizes.max(), 1)


@given(worlds(), SHARES, SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(
    world: tuple[Clusters, npt.NDArray[np.uint64]], share: float, seed: int, random: object
) -> None:
    clusters, digests = world
    order = np.array(random.sample(range(len(digests)), len(digests)), np.intp)  # type: ignore[attr-defined]
    place = np.argsort(order)
    shuffled = connected(
        len(order), np.arange(len(order), dtype=np.uint32), place[clusters.first[order]].astype(np.uint32)
    )
    one = divide(clusters, digests, share=share, seed=seed)
    other = divide(shuffled, digests[order], share=share, seed=seed)
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one[order].tolist() == other.tolist()


@given(st.integers(2, 200), st.integers(0, 20), SHARES, SEEDS)
def test_added_rows_move_no_more_rows_than_they_are(num_rows: int, num_added: int, share: float, seed: int) -> None:
    digests = np.random.default_rng(seed % 2**32).integers(0, 2**63, (num_rows + num_added, 2)).astype(np.uint64)
    alone = Clusters(np.arange(num_rows, dtype=np.uint32))
    together = Clusters(np.arange(num_rows + num_added, dtype=np.uint32))
    before = divide(alone, digests[:num_rows], share=share, seed=seed)
    after = divide(together, digests, share=share, seed=seed)
    assert before is not None
    assert after is not None
    assert (before != after[:num_rows]).sum() <= max(num_added, 0)
