"""The shingles of texts: what two of them have in common is how alike they are.

A shingle is three words running, as 64 bits. Everything is computed for many texts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import attrs
import numpy as np
import numpy.typing as npt

from backprop.plan.data.words import Hashes, Places, hash_words, mixed, words_in

WORDS = 3
"""Words of a shingle."""

_FIRST, _SECOND = np.uint64(0xD6E8FEB86659FD93), np.uint64(0xA0761D6478BD642F)
"""Odd numbers without a pattern, to tell a word's place within a shingle."""


@attrs.frozen(eq=False)
class ShingleSets:
    """The shingles of texts, text after text; cheap to send to another process."""

    hashes: Hashes
    """(all shingles,): of each text ascending, none twice."""
    ends: Places
    """(texts,): where the shingles of each text end in ``hashes``. Every text has one at least."""

    def __len__(self) -> int:
        return len(self.ends)

    def chosen(self, texts: npt.NDArray[np.bool_]) -> ShingleSets:
        """Those of some texts; ``texts``: (texts,)."""
        sizes = np.diff(self.ends, prepend=0)
        return ShingleSets(self.hashes[np.repeat(texts, sizes)], np.cumsum(sizes[texts]))

    def of(self, text: int) -> Hashes:
        """The shingles of one text."""
        return self.hashes[self.ends[text - 1] if text else 0 : self.ends[text]]


def shingles_of(texts: Sequence[str]) -> ShingleSets:
    """The shingles of each text; the texts are normalised (:func:`backprop.plan.data.compared.compared_text`).

    A word is a run of letters, digits and marks; in scripts that write no blanks between words each character is one.
    Texts of fewer than three words have one shingle of all of them, texts without a word one of the whole text.
    """
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    data = b"\n".join((*encoded, b""))
    words = words_in(np.frombuffer(data, np.uint8))
    hashes = hash_words(data, words)
    text_ends = np.cumsum(np.array([len(text) + 1 for text in encoded], np.int64))
    word_ends = np.searchsorted(words.starts, text_ends)
    runs = _runs(hashes)
    counts = np.diff(word_ends, prepend=0)
    sizes = np.maximum(counts - (WORDS - 1), 1)
    # A text's first shingle begins with its first word; where it ends the next text's begin, not before.
    firsts, ends = word_ends - counts, np.cumsum(sizes)
    places = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(firsts - (ends - sizes), sizes)
    found = runs[places]
    for text in np.flatnonzero(counts < WORDS):
        found[ends[text] - 1] = _short(encoded[text], hashes[firsts[text] : word_ends[text]])
    return _as_sets(found, ends)


def shared_excerpt(text: str, hashes: Hashes) -> str:
    """The longest piece of a text whose shingles are all among ``hashes`` (ascending); "" without one."""
    data = text.encode("utf-8", "surrogatepass")
    words = words_in(np.frombuffer(data, np.uint8))
    if len(words.starts) < WORDS:
        return ""
    runs = _runs(hash_words(data, words))[: len(words.starts) - WORDS + 1]
    edges = np.flatnonzero(np.diff(np.isin(runs, hashes), prepend=False, append=False))
    if not len(edges):
        return ""
    longest = int(np.argmax(edges[1::2] - edges[::2]))
    first, last = edges[2 * longest], edges[2 * longest + 1] + WORDS - 2
    return data[words.starts[first] : words.ends[last]].decode("utf-8", "surrogatepass")


def _runs(words: Hashes) -> Hashes:
    """(words + 1,): the shingle that begins with each word and after the last, as though words of zeros followed."""
    padded = np.concatenate((words, np.zeros(WORDS, np.uint64)))
    count = len(words) + 1
    return mixed(padded[:count] * _FIRST + padded[1 : count + 1] * _SECOND + padded[2 : count + 2])


def _short(text: bytes, words: Hashes) -> int:
    """The shingle of a text of fewer than three words."""
    data = words.tobytes() if len(words) else text
    return int.from_bytes(blake2b(data, digest_size=8, key=bytes([len(words)])).digest(), "little")


def _as_sets(found: Hashes, ends: Places) -> ShingleSets:
    """Sort the shingles of each text, and keep each of them once."""
    start = 0
    for end in ends.tolist():
        found[start:end].sort()
        start = end
    fresh = np.ones(len(found), bool)
    np.not_equal(found[1:], found[:-1], out=fresh[1:])
    fresh[ends[:-1]] = True
    return ShingleSets(found[fresh], np.cumsum(fresh)[ends - 1] if len(ends) else ends)
