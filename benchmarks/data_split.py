"""CPU time and MB/s of dividing a data set, with near duplicates and without, beside the bare parser in the same run.

Rows are generated: 1 kB, 150 words. ``--json`` prints the numbers. Exits 1 when a bound is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from backprop.effects.files.rows import blocks_of, rows_of
from backprop.plan.settings.verbs.data_split import DataSplitSettings
from backprop.workflows.data_split import run
from backprop.workflows.request import Request

MILLISECONDS_A_ROW = 0.15
"""Of CPU time, all processes together."""
MEGABYTES_A_SECOND = 100.0
"""With ``--exact-only``, of wall time on all cores, where nothing else runs."""
NUM_ROWS, REPEATS = 200_000, 3


def write_rows(path: Path, num_rows: int) -> None:
    """Conversations of 150 words, a tenth of them twice."""
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(20_000)]
    lines: list[str] = []
    with path.open("w", encoding="utf-8") as file:
        for _ in range(num_rows):
            if lines and rng.random() < 0.1:
                line = rng.choice(lines)
            else:
                said = [" ".join(rng.choices(words, k=count)) for count in (60, 90)]
                roles = ("user", "assistant")
                turns = [{"role": role, "content": text} for role, text in zip(roles, said, strict=True)]
                line = json.dumps({"messages": turns}) + "\n"
            lines = [*lines[-999:], line]
            file.write(line)


def cost(work: Callable[[], object]) -> tuple[float, float]:
    """(CPU seconds with those of the processes begun, wall seconds) of the quickest of some runs."""
    found = []
    for _ in range(REPEATS):
        before, begun = _cpu(), time.perf_counter()
        work()
        found.append((_cpu() - before, time.perf_counter() - begun))
    return min(cpu for cpu, _ in found), min(wall for _, wall in found)


def _cpu() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def measure() -> dict[str, dict[str, float]]:
    """CPU ms a row and MB/s of wall time, by what is done."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows.jsonl"
        write_rows(path, NUM_ROWS)
        megabytes = path.stat().st_size / 1e6
        near = DataSplitSettings(dataset=str(path))
        exact = DataSplitSettings(dataset=str(path), exact_only=True)
        works: dict[str, Callable[[], object]] = {
            "the rows read and nothing else, one core": lambda: [sum(1 for _ in rows_of(b)) for b in blocks_of(path)],
            "data split": lambda: run(Request(near)),
            "data split --exact-only": lambda: run(Request(exact)),
        }
        costs = {name: cost(work) for name, work in works.items()}
    return {
        name: {
            "cpu_ms_a_row": 1e3 * cpu / NUM_ROWS,
            "mb_a_second": megabytes / wall,
            "mb_a_cpu_second": megabytes / cpu,
        }
        for name, (cpu, wall) in costs.items()
    }


def main() -> int:
    """Measure, print, judge. Returns the exit code."""
    parser = argparse.ArgumentParser(description="The cost of dividing a data set.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    as_json = parser.parse_args().json
    found = measure()
    is_over = found["data split"]["cpu_ms_a_row"] > MILLISECONDS_A_ROW
    is_over |= found["data split --exact-only"]["mb_a_second"] < MEGABYTES_A_SECOND
    if as_json:
        print(json.dumps(found, indent=2))
        return int(is_over)
    print(f"{'':44}{'CPU ms a row':>14}{'MB/s':>10}{'MB/CPU s':>10}   {os.cpu_count()} cores")
    for name, numbers in found.items():
        print(
            f"{name:44}{numbers['cpu_ms_a_row']:14.4f}{numbers['mb_a_second']:10.0f}{numbers['mb_a_cpu_second']:10.0f}"
        )
    return int(is_over)


if __name__ == "__main__":
    sys.exit(main())
