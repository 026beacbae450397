from __future__ import annotations

import numpy as np
import pytest

from backprop.plan.data.shingles import shared_excerpt, shingles_of
from backprop.plan.data.words import hash_words, words_in
from tests.effects.probe.alike import words_by_hand

TEXTS = (
    "plain words, and 42 numbers",
    "don't stop-me_now",
    "ภาษาไทย and 日本語 and naïve café",
    "tiếng Việt có dấu",
    "हिन्दी में लिखा",
    "👍👎 1️⃣",
    "x" * 100 + " " + "y" * 33 + " " + "z" * 32,
    "\ud800 a",
    "…—«quoted»",
    "",
)


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_what_they_are_character_by_character(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    words = words_in(np.frombuffer(data, np.uint8))
    places = zip(words.starts.tolist(), words.ends.tolist(), strict=True)
    assert [data[start:end].decode("utf-8", "surrogatepass") for start, end in places] == words_by_hand(text)


def test_equal_words_have_equal_hashes_and_others_have_others() -> None:
    words = [letter * size for letter in "ab" for size in (*range(1, 70), 500)]
    data = " ".join([*words, *words]).encode()
    hashes = hash_words(data, words_in(np.frombuffer(data, np.uint8))).tolist()
    assert hashes[: len(words)] == hashes[len(words) :]
    assert len(set(hashes)) == len(words)


def test_a_text_has_a_shingle_for_every_three_words_running() -> None:
    assert [len(shingles_of([text]).of(0)) for text in ("a b c", "a b c d", "a b c a b c a b c", "a b")] == [1, 2, 3, 1]


def test_the_order_of_words_counts() -> None:
    sets = shingles_of(["a b c", "c b a", "a c b", "b a c", "ab c", "abc", "a b", "b a"])
    assert len({tuple(sets.of(text).tolist()) for text in range(len(sets))}) == 8


def test_punctuation_and_blanks_do_not_count() -> None:
    sets = shingles_of(["one two three", "one, two -- three!"])
    assert sets.of(0).tolist() == sets.of(1).tolist()


def test_no_text_has_no_shingles_and_every_text_has_one() -> None:
    assert len(shingles_of([])) == 0
    assert [len(shingles_of(["", "...", "a"]).of(text)) for text in range(3)] == [1, 1, 1]


def test_the_longest_shared_piece_is_shown_as_it_stands() -> None:
    shared = np.sort(np.concatenate((shingles_of(["you are, of course, kind"]).hashes, shingles_of(["b c d"]).hashes)))
    assert shared_excerpt("a b c d. You! you are, of course, kind (x) y", shared) == "you are, of course, kind"
    assert shared_excerpt("nothing of the sort", shared) == ""
    assert shared_excerpt("a", shared) == ""
