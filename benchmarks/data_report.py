"""What ``backprop data report`` costs with every check on: CPU time a row, wall time, peak memory, temporary disk.

``python -m benchmarks.data_report [ROWS ...] [--anchor PYTHON]`` writes files of generated conversations of 150 words,
a fifth of which repeat others, and prints one line a size; it exits 1 when one takes more than MILLISECONDS a row.
``--anchor`` names the interpreter of another environment, in which backpropagate is installed; its ``analyze_dataset``
is measured on the first file in the same way. Each is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

import attrs

from backprop import DataReport, analyze_dataset
from benchmarks.data_near import Watch, cpu_seconds, plain

MILLISECONDS = 0.15
"""Of CPU time a row."""
SIZES = (10_000, 100_000, 1_000_000)
ASKED_WORDS = 50
ANCHOR = """
import json, resource, sys, time
from backpropagate.dataset_report import analyze_dataset
begun, clock = time.process_time(), time.perf_counter()
report = analyze_dataset([json.loads(line) for line in open(sys.argv[1], encoding="utf-8")])
took = (time.process_time() - begun, time.perf_counter() - clock)
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([*took, peak_mb, report.near_duplicate_rate, report.verdict]))
"""


@attrs.frozen
class Cost:
    """What one report took."""

    rows: int
    cpu_ms: float
    """A row, all processes together."""
    seconds: float
    peak_mb: float
    """Resident memory of all processes at its highest, what they share counted once."""
    disk_mb: float
    duplicates: float
    verdict: str


def write_rows(path: Path, num_rows: int) -> None:
    """Conversations of one question and one answer."""
    with path.open("w", encoding="utf-8") as file:
        for words in islice(plain(random.Random(1)), num_rows):
            asked, answered = " ".join(words[:ASKED_WORDS]), " ".join(words[ASKED_WORDS:])
            turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
            file.write(json.dumps({"messages": turns}) + "\n")


def measure(path: Path) -> Cost:
    """Report on a file, in this process and those that it starts."""
    watch = Watch()
    cpu, clock = cpu_seconds(), time.perf_counter()
    report: DataReport = analyze_dataset(path)
    cpu, seconds = cpu_seconds() - cpu, time.perf_counter() - clock
    watch.end()
    rows, rate = report.total_rows, report.near_duplicate_rate
    return Cost(rows, 1e3 * cpu / rows, seconds, watch.peak_mb, watch.disk_mb, rate, report.verdict.value)


def measure_anchor(python: str, path: Path, num_rows: int) -> Cost:
    """The same file through the other program."""
    done = subprocess.run([python, "-c", ANCHOR, str(path)], capture_output=True, text=True, check=True)
    cpu, seconds, peak_mb, rate, verdict = json.loads(done.stdout.splitlines()[-1])
    return Cost(num_rows, 1e3 * cpu / num_rows, seconds, peak_mb, 0.0, rate, verdict)


def _line(name: str, cost: Cost) -> str:
    numbers = f"{cost.cpu_ms:12.3f}{cost.seconds:10.1f}{cost.peak_mb:10.0f}{cost.disk_mb:10.0f}{cost.duplicates:12.4f}"
    return f"{name:14}{cost.rows:9}{numbers}  {cost.verdict}"


def main(words: list[str]) -> int:
    """Measure, print, judge. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", type=int)
    parser.add_argument("--anchor", metavar="PYTHON")
    asked = parser.parse_args(words)
    titles = "".join(f"{title:>{width}}" for title, width in (("CPU ms/row", 12), ("wall s", 10), ("peak MB", 10)))
    print(f"{'':14}{'rows':>9}{titles}{'disk MB':>10}{'duplicates':>12}")
    over = False
    for number, num_rows in enumerate(asked.rows or SIZES):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "rows.jsonl"
            write_rows(path, num_rows)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                cost = pool.submit(measure, path).result()
            over |= cost.cpu_ms > MILLISECONDS
            print(_line("backprop", cost), flush=True)
            if asked.anchor and number == 0:
                print(_line("backpropagate", measure_anchor(asked.anchor, path, num_rows)), flush=True)
    return int(over)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
