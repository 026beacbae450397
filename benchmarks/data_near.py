"""What finding duplicates costs: CPU time a row, peak memory and disk, on rows of 150 words.

``python -m benchmarks.data_near [NAME ...] [ROWS ...]`` prints one line a data set and size, and exits 1 when the plain
one takes more than MICROSECONDS a row. Each is measured in a process of its own, where the texts are made, too; what
that takes is left out.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import accumulate, islice
from pathlib import Path

import attrs

from backprop.effects.probe.duplicates import DuplicateFinder
from backprop.plan.data.compared import digests_of
from backprop.plan.data.shingles import shingles_of

MICROSECONDS = 60
"""Of CPU time a row, digests, shingles and join together."""
SIZES = (10_000, 100_000)
BLOCK, WORDS_A_ROW, THRESHOLD = 1000, 150, 0.9
_LETTERS = "etaoinshrdlucmfwypvbgkqjxz"


@attrs.frozen
class Cost:
    """What one data set took."""

    rows: int
    shingle_us: float
    """CPU time of digests and shingles, a row."""
    join_us: float
    """CPU time of everything else, a row."""
    join_seconds: float
    """From the last row to the answer, on two cores."""
    peak_mb: float
    """Resident memory of all processes at its highest, what they share counted once."""
    disk_mb: float
    duplicates: int


def vocabulary(seed: int, *, count: int = 30_000) -> list[str]:
    """Words of 2 to 11 letters."""
    chance = random.Random(seed)
    return ["".join(chance.choices(_LETTERS, k=chance.randint(2, 11))) for _ in range(count)]


def changed(words: list[str], chance: random.Random, vocabulary: list[str], *, count: int) -> list[str]:
    """The words with some replaced."""
    words = list(words)
    for _ in range(count):
        words[chance.randrange(len(words))] = chance.choice(vocabulary)
    return words


def plain(chance: random.Random) -> Iterator[list[str]]:
    """Random rows; a tenth repeats an earlier row, a tenth does with one word changed."""
    words, kept = vocabulary(0), list[list[str]]()
    weights = [1 / (i + 10) for i in range(len(words))]
    cumulative = list(accumulate(weights))
    while True:
        for row in _rows_of(chance.choices(words, cum_weights=cumulative, k=500 * WORDS_A_ROW)):
            fate = chance.random()
            if fate < 0.2 and kept:
                again = chance.choice(kept)
                yield again if fate < 0.1 else changed(again, chance, words, count=1)
                continue
            if len(kept) < 20_000:
                kept.append(row)
            else:
                kept[chance.randrange(len(kept))] = row
            yield row


def alike(chance: random.Random) -> Iterator[list[str]]:
    """Five texts, each row one of them with one word changed: every row has a fifth of all rows like it."""
    words = vocabulary(0)
    bases = list(islice(_rows_of(chance.choices(words, k=5 * WORDS_A_ROW)), 5))
    while True:
        yield changed(chance.choice(bases), chance, words, count=1)


def nearly(chance: random.Random) -> Iterator[list[str]]:
    """As before with two words changed: most pairs are just too different, at a similarity of 0.85."""
    words = vocabulary(0)
    bases = list(islice(_rows_of(chance.choices(words, k=5 * WORDS_A_ROW)), 5))
    while True:
        yield changed(chance.choice(bases), chance, words, count=2)


def halves(chance: random.Random) -> Iterator[list[str]]:
    """Five beginnings, each row one of them and as many words of its own."""
    words = vocabulary(0)
    half = WORDS_A_ROW // 2
    bases = list(islice(_rows_of(chance.choices(words, k=5 * WORDS_A_ROW)), 5))
    while True:
        yield chance.choice(bases)[:half] + chance.choices(words, k=half)


DATA_SETS: dict[str, Callable[[random.Random], Iterator[list[str]]]] = {
    "plain": plain,
    "alike": alike,
    "nearly": nearly,
    "halves": halves,
}


def _rows_of(words: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(words), WORDS_A_ROW):
        yield words[start : start + WORDS_A_ROW]


def cpu_seconds() -> float:
    """Of this process and of the children that ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


class Watch:
    """Looks at memory and temporary files ten times a second; Linux only."""

    def __init__(self) -> None:
        self.peak_mb = self.disk_mb = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            own = os.getpid()
            pids = [own, *map(int, _read(f"/proc/{own}/task/{own}/children").split())]
            self.peak_mb = max(self.peak_mb, sum(map(_proportional_mb, pids)))
            self.disk_mb = max(self.disk_mb, _unlinked_mb(own))


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""


def _proportional_mb(pid: int) -> float:
    lines = _read(f"/proc/{pid}/smaps_rollup").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _unlinked_mb(pid: int) -> float:
    total, seen = 0, set[int]()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target, stat = link.readlink(), link.stat()
        except OSError:
            continue
        if target.is_relative_to(tempfile.gettempdir()) and stat.st_nlink == 0 and stat.st_ino not in seen:
            seen.add(stat.st_ino)
            total += stat.st_blocks * 512
    return total / 1e6


def measure(name: str, num_rows: int) -> Cost:
    """Find the duplicates of a data set."""
    rows = islice(DATA_SETS[name](random.Random(1)), num_rows)
    shingles_of(["once ä"])
    shingling = joining = 0.0
    watch = Watch()
    with DuplicateFinder(threshold=THRESHOLD, num_processes=2) as finder:
        while texts := [" ".join(row) for row in islice(rows, BLOCK)]:
            begun = time.thread_time()
            digests, sets = digests_of(texts), shingles_of(texts)
            shingling += time.thread_time() - begun
            begun = time.thread_time()
            finder.add(digests, sets)
            joining += time.thread_time() - begun
        begun, clock = cpu_seconds(), time.perf_counter()
        found = finder.finish()
        joining += cpu_seconds() - begun
        seconds = time.perf_counter() - clock
    watch.end()
    removable = found.clusters.num_removable
    us = 1e6 / num_rows
    return Cost(num_rows, shingling * us, joining * us, seconds, watch.peak_mb, watch.disk_mb, removable)


def main(words: list[str]) -> int:
    """Measure, print, judge: names of data sets and numbers of rows. Returns the exit code."""
    sizes = [int(word) for word in words if word.isdigit()] or SIZES
    names = [word for word in words if not word.isdigit()] or DATA_SETS
    titles = ("shingles us", "join us", "join s", "peak MB", "disk MB", "removable")
    print(f"{'':8}{'rows':>9}" + "".join(f"{title:>12}" for title in titles))
    over = False
    for name in names:
        for num_rows in sizes:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                cost = pool.submit(measure, name, num_rows).result()
            over |= name == "plain" and cost.shingle_us + cost.join_us > MICROSECONDS
            print(
                f"{name:8}{num_rows:9}{cost.shingle_us:12.1f}{cost.join_us:12.1f}{cost.join_seconds:12.2f}"
                f"{cost.peak_mb:12.0f}{cost.disk_mb:12.0f}{cost.duplicates:12}",
                flush=True,
            )
    return int(over)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
