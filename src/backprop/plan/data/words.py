"""The words of texts in UTF-8, found in many texts at once, each as 64 bits."""

from __future__ import annotations

import unicodedata
from functools import cache
from hashlib import blake2b

import attrs
import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
_Bytes = npt.NDArray[np.uint8]

_BLANK, _LETTER, _ALONE = 0, 1, 2
_GATHERED = 32
"""Longer words are hashed one by one: few are, and no text of any make costs more than 1 µs for each 33 bytes."""
_WORD_BYTES = 8
_NO_BLANKS = (
    (0x0E00, 0x109F),  # Thai, Lao, Tibetan, Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x1AAF),  # Tai
    (0x2E80, 0x9FFF),  # kana, bopomofo, CJK
    (0xA000, 0xA4CF),  # Yi
    (0xA9E0, 0xA9FF),  # Myanmar
    (0xAA60, 0xAADF),  # Myanmar, Tai
    (0xAC00, 0xD7FF),  # Hangul, whose endings hang on to words
    (0xF900, 0xFAFF),  # CJK
)
"""First and last code point of scripts in which each character is a word of its own."""


@attrs.frozen(eq=False)
class Words:
    """Where the words of a run of texts stand; (words,) each, ascending."""

    starts: Places
    ends: Places


def words_in(data: _Bytes) -> Words:
    """The words of UTF-8 text, as places in its bytes."""
    kinds = _ascii_kinds()[data]
    if len(data) and data.max() >= 0x80:
        _place_characters(data, kinds)
    letters = kinds == _LETTER
    edges = np.flatnonzero(np.diff(letters, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    alone = np.flatnonzero(kinds == _ALONE)
    if not len(alone):
        return Words(starts, ends)
    starts = np.concatenate((starts, alone))
    ends = np.concatenate((ends, alone + _character_bytes()[data[alone]]))
    order = np.argsort(starts, kind="stable")
    return Words(starts[order], ends[order])


def hash_words(data: bytes, words: Words) -> Hashes:
    """64 bits for each word, equal for equal words; no words but equal ones are known to share theirs."""
    padded = np.frombuffer(data + bytes(2 * _WORD_BYTES - len(data) % _WORD_BYTES), np.uint64)
    lengths = words.ends - words.starts
    hashes = mixed(_gathered(padded, words.starts, lengths) + lengths.astype(np.uint64))
    for offset in range(_WORD_BYTES, _GATHERED, _WORD_BYTES):
        longer = np.flatnonzero(lengths > offset)
        if not len(longer):
            return hashes
        more = _gathered(padded, words.starts[longer] + offset, lengths[longer] - offset)
        hashes[longer] = mixed(hashes[longer] ^ more)
    for word in np.flatnonzero(lengths > _GATHERED):
        digest = blake2b(data[words.starts[word] : words.ends[word]], digest_size=8).digest()
        hashes[word] = int.from_bytes(digest, "little")
    return hashes


def mixed(values: Hashes) -> Hashes:
    """Each value with its bits spread: the finaliser of SplitMix64, a bijection (Steele et al., OOPSLA 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def _gathered(padded: Hashes, starts: Places, lengths: Places) -> Hashes:
    """The first eight bytes of each word, or all of a shorter one; ``padded`` is the text, eight bytes a number."""
    word, shift = starts >> 3, (starts.astype(np.uint64) & np.uint64(7)) << np.uint64(3)
    values: Hashes = padded[word] >> shift
    # A shift by 64 is undefined, so the shift by 64 - shift is made in two.
    values |= (padded[word + 1] << np.uint64(1)) << (np.uint64(63) - shift)
    values &= _low_bytes()[np.minimum(lengths, _WORD_BYTES)]
    return values


def _place_characters(data: _Bytes, kinds: npt.NDArray[np.uint8]) -> None:
    """Set the kinds of all characters beyond ASCII; the bytes after the first of one that is alone stay blank."""
    for size, first, last in ((2, 0xC2, 0xDF), (3, 0xE0, 0xEF), (4, 0xF0, 0xF4)):
        at = np.flatnonzero((data >= first) & (data <= last))
        if not len(at):
            continue
        points = data[at].astype(np.int32) & (0x7F >> size)
        for offset in range(1, size):
            points = (points << 6) | (data[at + offset] & 0x3F)
        found = _character_kinds()[points]
        kinds[at] = found
        in_word = at[found == _LETTER]
        for offset in range(1, size):
            kinds[in_word + offset] = _LETTER


@cache
def _ascii_kinds() -> npt.NDArray[np.uint8]:
    """(256,): the kind of each byte that is a character."""
    kinds = np.zeros(256, np.uint8)
    kinds[[code for code in range(0x80) if chr(code).isalnum()]] = _LETTER
    return kinds


@cache
def _character_bytes() -> Places:
    """(256,): how many bytes a character has by its first one."""
    sizes = np.ones(256, np.int64)
    sizes[0xC2:0xE0], sizes[0xE0:0xF0], sizes[0xF0:0xF5] = 2, 3, 4
    return sizes


@cache
def _low_bytes() -> Hashes:
    """(9,): masks that keep the first 0 to 8 bytes."""
    return np.array([(1 << 8 * size) - 1 for size in range(_WORD_BYTES + 1)], np.uint64)


@cache
def _character_kinds() -> npt.NDArray[np.uint8]:
    """(all code points,): letters, digits and marks make words; beyond U+FFFF they, and pictures, stand alone."""
    kinds = np.zeros(0x110000, np.uint8)
    # Beyond the planes with letters and pictures lie private use and nothing.
    for code in range(0x323B0):
        category = unicodedata.category(chr(code))
        if category[0] in "LNM" or (category == "So" and code > 0xFFFF):
            kinds[code] = _ALONE if code > 0xFFFF else _LETTER
    for first, last in _NO_BLANKS:
        kinds[first : last + 1][kinds[first : last + 1] == _LETTER] = _ALONE
    return kinds
