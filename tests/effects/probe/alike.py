"""Duplicates found by comparing every row with every other, and rows to find them among."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from random import Random

from backprop.effects.probe.duplicates import DuplicateFinder, Duplicates
from backprop.plan.data.compared import digests_of
from backprop.plan.data.shingles import shingles_of

WITHOUT_BLANKS = re.compile("[\u0e00-\u109f\u1780-\u17ff\u2e80-\u9fff\ua000-\ua4cf\uac00-\ud7ff\uf900-\ufaff]")


def found(
    texts: Sequence[str],
    threshold: float | None = 0.9,
    *,
    against: Sequence[str] = (),
    block: int = 1000,
    num_processes: int = 1,
) -> Duplicates:
    """What stands more than once among texts, given in blocks."""
    with DuplicateFinder(threshold=threshold, num_processes=num_processes) as finder:
        for rows, add in ((texts, finder.add), (against, finder.add_against)):
            for start in range(0, len(rows), block):
                part = rows[start : start + block]
                add(digests_of(part), None if threshold is None else shingles_of(part))
        return finder.finish()


def groups(duplicates: Duplicates) -> list[list[int]]:
    return [group.tolist() for group in duplicates.clusters.groups()]


def words_by_hand(text: str) -> list[str]:
    """The words of a text, character by character."""
    words, at = list[str](), -2
    for place, letter in enumerate(text):
        category = unicodedata.category(letter)
        pictures = category == "So" and ord(letter) > 0xFFFF
        if category[0] not in "LNM" and not pictures:
            continue
        if pictures or ord(letter) > 0xFFFF or WITHOUT_BLANKS.match(letter):
            words.append(letter)
        elif at == place - 1:
            words[-1] += letter
            at = place
        else:
            words.append(letter)
            at = place
    return words


def shingles_by_hand(text: str) -> frozenset[tuple[str, ...]]:
    """Three words running, as they are."""
    words = words_by_hand(text)
    if len(words) < 3:
        return frozenset({tuple(words) or ("", text)})
    return frozenset(zip(words, words[1:], words[2:], strict=False))


def jaccard(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other)


def clusters_by_hand(texts: Sequence[str], threshold: float) -> list[int]:
    """Of each row the first row of its cluster, every pair compared."""
    first = list(range(len(texts)))

    def root(row: int) -> int:
        return row if first[row] == row else root(first[row])

    for one, other in pairs_by_hand(texts, threshold):
        low, high = sorted((root(one), root(other)))
        first[high] = low
    return [root(row) for row in range(len(texts))]


def pairs_by_hand(texts: Sequence[str], threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs of rows that are equal or similar: of all that have a shingle in common."""
    sets = [shingles_by_hand(text) for text in texts]
    holders: dict[tuple[str, ...], list[int]] = {}
    for row, shingles in enumerate(sets):
        others = {other for shingle in shingles for other in holders.get(shingle, ())}
        for shingle in shingles:
            holders.setdefault(shingle, []).append(row)
        yield from ((other, row) for other in others if jaccard(sets[other], shingles) >= threshold)


def planted(count: int, *, seed: int = 0) -> list[str]:
    """Rows of 1 to 300 words, and copies of them about as similar as 0.8, 0.9 and 0.95, some of them exactly."""
    chance = Random(seed)
    vocabulary = [f"word{number}" for number in range(3000)]
    rows: list[list[str]] = []
    while len(rows) < count:
        # 9, 19 and 39 shingles less one of them are 0.8, 0.9 and 0.95 of what either has.
        length = chance.choice((1, 2, 3, 4, 11, 21, 41, 60, 100, 150, 300))
        base = chance.choices(vocabulary, k=length)
        rows.append(base)
        for _ in range(chance.choice((0, 0, 1, 3))):
            share = chance.choice((0, 0, 0.01, 0.02, 0.03, 0.05, 0.06, 0.1, 0.11, 0.15))
            tail = round(length * share) or chance.randint(0, 1)
            copy = base[: length - tail] + chance.choices(vocabulary, k=tail)
            if chance.random() < 0.2:
                copy[chance.randrange(length)] = chance.choice(vocabulary)
            rows.append(copy)
    rows = rows[:count]
    chance.shuffle(rows)
    return [" ".join(row) for row in rows]
