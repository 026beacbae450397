"""MB/s per core of validating 1 kB rows, beside the bare parser in the same run; each the best of some.

Rows are generated; those of the second line take the exact way, since their turns have weights. ``--json``
prints the numbers. Exits 1 when rows that are certainly fine are judged slower than the bound.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from backprop.effects.files.rows import Block, blocks_of, lines_of, rows_of
from backprop.effects.probe.validation import BlockJudge, judge_block, judge_rows
from backprop.plan.data.judge import RowJudge
from backprop.plan.data.layout import Layout
from backprop.plan.data.tally import Limits

MEGABYTES_A_SECOND = 60.0
"""Of CPU time on one core, rows without token lengths."""
REPEATS, NUM_ROWS = 5, 20_000
LIMITS = Limits(max_errors=100)
JUDGE = BlockJudge(RowJudge(Layout.OPENAI, True, "text"))


def write_rows(path: Path, *, weighted: bool) -> None:
    """Conversations of about 1 kB a row; ``weighted`` turns take reading."""
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(5000)]

    def turn(role: str, num_words: int) -> dict[str, object]:
        said = {"role": role, "content": " ".join(rng.choices(words, k=num_words)) + ".\n"}
        return {**said, "weight": 1} if weighted else dict(said)

    shape = (("system", 10), ("user", 25), ("assistant", 55), ("user", 15), ("assistant", 40))
    with path.open("w", encoding="utf-8") as file:
        for number in range(NUM_ROWS):
            file.write(json.dumps({"id": number, "messages": [turn(*part) for part in shape]}) + "\n")


def speed(work: Callable[[], object], num_bytes: int, clock: Callable[[], float] = time.process_time) -> float:
    """MB/s of the quickest of some runs."""
    seconds = []
    for _ in range(REPEATS):
        begun = clock()
        work()
        seconds.append(clock() - begun)
    return num_bytes / 1e6 / min(seconds)


def parse(blocks: Sequence[Block]) -> None:
    """Read the rows and do nothing with them."""
    for block in blocks:
        for _ in rows_of(block):
            pass


def parse_barely(lines: Sequence[bytes]) -> None:
    """The standard library's parser, without its checks."""
    for line in lines:
        json.loads(line)


def measure(directory: Path) -> dict[str, float]:
    """All numbers, in MB/s; the last is of all cores and the wall clock."""
    plain, weighted = directory / "plain.jsonl", directory / "weighted.jsonl"
    write_rows(plain, weighted=False)
    write_rows(weighted, weighted=True)
    blocks, others = list(blocks_of(plain)), list(blocks_of(weighted))
    size, other_size = plain.stat().st_size, weighted.stat().st_size
    lines = [line for block in blocks for _, line in lines_of(block)]
    return {
        "json.loads alone": speed(lambda: parse_barely(lines), size),
        "rows read, not judged": speed(lambda: parse(blocks), size),
        "judged, certainly fine": speed(lambda: [judge_block(b, judge=JUDGE, limits=LIMITS) for b in blocks], size),
        "judged, the exact way": speed(
            lambda: [judge_block(b, judge=JUDGE, limits=LIMITS) for b in others], other_size
        ),
        f"judged on {os.cpu_count()} cores": speed(
            lambda: judge_rows((plain,), JUDGE, LIMITS), size, clock=time.perf_counter
        ),
    }


def main() -> int:
    """Measure, print, and compare with the bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    wants_json = parser.parse_args().json
    with tempfile.TemporaryDirectory() as directory:
        found = measure(Path(directory))
    if wants_json:
        print(json.dumps(found))
    else:
        for name, megabytes in found.items():
            print(f"{name:28} {megabytes:7.0f} MB/s")
    return 0 if found["judged, certainly fine"] >= MEGABYTES_A_SECOND else 1


if __name__ == "__main__":
    sys.exit(main())
