"""Laws of duplicates: what is found depends on the texts alone, and on every pair of them."""

from __future__ import annotations

from unittest import mock

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.effects.probe.alike import clusters_by_hand, found, groups, jaccard, shingles_by_hand

from backprop.effects.probe import duplicates, set_files, similarity_join
from backprop.plan.data.compared import digests_of, normalised
from backprop.plan.data.shingles import shingles_of
from backprop.plan.data.similarity import similarity
from property_tests.strategies.alike import alike_texts, thresholds
from property_tests.strategies.conversations import texts


@given(alike_texts(), thresholds())
def test_clusters_are_those_of_comparing_every_pair(rows: list[str], threshold: float) -> None:
    assert found(rows, threshold).clusters.first.tolist() == clusters_by_hand(rows, threshold)


@given(alike_texts(40), thresholds())
def test_clusters_are_a_partition_in_which_each_row_has_one_first(rows: list[str], threshold: float) -> None:
    result = found(rows, threshold)
    first = result.clusters.first
    assert (first[first] == first).all()
    assert (first <= np.arange(len(rows))).all()
    assert result.clusters.num_removable == sum(len(group) - 1 for group in groups(result))
    assert result.clusters.num_removable == result.exact_removable + result.near_removable
    assert result.exact_removable == len(rows) - len(set(rows))


@given(alike_texts(40), thresholds(), st.randoms(use_true_random=False))
def test_another_order_of_rows_orders_the_clusters_anew(rows: list[str], threshold: float, random: object) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = found([rows[row] for row in order], threshold)
    assert {frozenset(order[row] for row in group) for group in groups(shuffled)} == {
        frozenset(group) for group in groups(found(rows, threshold))
    }


@given(alike_texts(40), thresholds(), thresholds())
def test_a_higher_threshold_never_adds_a_pair(rows: list[str], one: float, other: float) -> None:
    low, high = sorted((one, other))
    loose, strict = found(rows, low, against=rows[::3]), found(rows, high, against=rows[::3])
    assert (loose.clusters.first[strict.clusters.first] == loose.clusters.first).all()
    assert set(strict.contaminated.tolist()) <= set(loose.contaminated.tolist())


@settings(max_examples=25)
@given(alike_texts(40), alike_texts(), thresholds(), st.integers(1, 9), st.integers(2, 3))
def test_blocks_processes_and_windows_change_nothing(
    rows: list[str], others: list[str], threshold: float, block: int, num_processes: int
) -> None:
    expected = found(rows, threshold, against=others)
    with (
        mock.patch.object(duplicates, "_FEW", 0),
        mock.patch.object(set_files, "WINDOW", 8),
        mock.patch.object(similarity_join, "_LARGE", 2),
        mock.patch.object(similarity_join, "_PAIRS", 3),
    ):
        result = found(rows, threshold, against=others, block=block, num_processes=num_processes)
    assert result.clusters.first.tolist() == expected.clusters.first.tolist()
    assert result.contaminated.tolist() == expected.contaminated.tolist()
    assert result.boilerplate.hashes.tolist() == expected.boilerplate.hashes.tolist()
    assert (result.boilerplate.share, result.pairs) == (expected.boilerplate.share, expected.pairs)


@given(alike_texts(), alike_texts(), thresholds())
def test_contamination_is_a_pair_across_and_goes_both_ways(
    rows: list[str], others: list[str], threshold: float
) -> None:
    sets = {text: shingles_by_hand(text) for text in (*rows, *others)}

    def is_alike(text: str, candidates: list[str]) -> bool:
        return any(jaccard(sets[text], sets[other]) >= threshold for other in candidates)

    there, back = found(rows, threshold, against=others), found(others, threshold, against=rows)
    assert there.contaminated.tolist() == [row for row, text in enumerate(rows) if is_alike(text, others)]
    assert back.contaminated.tolist() == [row for row, text in enumerate(others) if is_alike(text, rows)]


@given(alike_texts(), thresholds())
def test_the_first_rows_alone_hold_no_duplicates(rows: list[str], threshold: float) -> None:
    kept = [rows[row] for row in sorted(set(found(rows, threshold).clusters.first.tolist()))]
    assert groups(found(kept, threshold)) == []


@given(st.lists(texts() | st.text(), max_size=6))
@example(["", "a", "日本語 text", "👍", "..."])
def test_sets_have_as_much_in_common_as_their_shingles_in_words(given_texts: list[str]) -> None:
    rows = [normalised(text) for text in given_texts]
    sets, by_hand = shingles_of(rows), [shingles_by_hand(row) for row in rows]
    assert [len(sets.of(row)) for row in range(len(rows))] == list(map(len, by_hand))
    for one in range(len(rows)):
        for other in range(len(rows)):
            alike = similarity(sets.of(one), sets.of(other))
            assert alike == similarity(sets.of(other), sets.of(one)) == jaccard(by_hand[one], by_hand[other])


@given(st.lists(texts() | st.text(), max_size=6))
def test_texts_have_the_same_shingles_alone_as_among_others(rows: list[str]) -> None:
    sets = shingles_of(rows)
    assert [sets.of(row).tolist() for row in range(len(rows))] == [shingles_of([row]).of(0).tolist() for row in rows]


@given(texts() | st.text(), texts() | st.text())
def test_normal_text_stays_as_it_is_and_has_a_digest_of_its_own(one: str, other: str) -> None:
    one, other = normalised(one), normalised(other)
    assert normalised(one) == one
    assert (digests_of([one]) == digests_of([other])) == (one == other)
