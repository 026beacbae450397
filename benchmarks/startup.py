"""CPU seconds and peak memory of commands that only look or plan, beside a bare Python in the same run.

Prints one line a command: the least of REPEATS runs, and the heavy packages that were loaded. Exits 1 when a bound
of BOUNDS is broken.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import attrs

REPEATS = 10
MODEL = Path(".models/SmolLM2-135M-Instruct")
HEAVY = ("torch", "transformers", "trl", "peft", "datasets")
EXTRA_SECONDS, ESTIMATE_SECONDS, MEGABYTES = 0.15, 0.2, 60
"""CPU seconds above bare Python, also of an estimate, and peak resident memory, of every command but the dry run."""

CHILD = f"""
import resource, sys
code = 0
if len(sys.argv) > 1:
    from backprop.cli.start import run
    try:
        run()
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
usage = resource.getrusage(resource.RUSAGE_SELF)
size = usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
if sys.platform == "linux":  # where ru_maxrss counts the process that started this one
    size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
heavy = [name for name in {HEAVY!r} if name in sys.modules]
print(code, usage.ru_utime + usage.ru_stime, size, *heavy, file=sys.stderr)
"""


@attrs.frozen
class Cost:
    """What one run of a command took."""

    cpu_seconds: float
    megabytes: float
    """Peak resident memory."""
    heavy: tuple[str, ...] = ()


def measure(arguments: Sequence[str], directory: Path) -> Cost:
    """Run a command once in ``directory``; with no arguments, bare Python. Raises for an exit code other than 0."""
    # Bytecode is kept, as it is for everybody; the first run of a command writes what is missing.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        cwd=directory,
        env={**kept, "HOME": str(directory), "XDG_CONFIG_HOME": str(directory / "config")},
        capture_output=True,
        text=True,
        check=True,
    )
    code, cpu, size, *heavy = done.stderr.splitlines()[-1].split()
    if code != "0":
        raise RuntimeError(f"{' '.join(arguments)} exited with {code}: {done.stderr}")
    return Cost(float(cpu), float(size), tuple(heavy))


def least(arguments: Sequence[str], directory: Path, *, repeats: int = REPEATS) -> Cost:
    """The least of each number over some runs, after one that warms the caches: other processes only add."""
    measure(arguments, directory)
    costs = [measure(arguments, directory) for _ in range(repeats)]
    return Cost(min(c.cpu_seconds for c in costs), min(c.megabytes for c in costs), costs[0].heavy)


def prepare(directory: Path, *, rows: int = 1000) -> dict[str, tuple[str, ...]]:
    """Write what the commands read; the commands by name."""
    with (directory / "rows.jsonl").open("w", encoding="utf-8") as file:
        for i in range(rows):
            turns = [
                {"role": "user", "content": f"What is {i} times {i + 1}? Explain how you found it."},
                {"role": "assistant", "content": f"It is {i * (i + 1)}: {i} is taken {i + 1} times and added up."},
            ]
            file.write(json.dumps({"messages": turns}) + "\n")
    dry_run = ("train", "--model", str(MODEL.absolute()), "--data", "rows.jsonl", "--dry-run")
    return {
        "--version": ("--version",),
        "--help": ("--help",),
        "info --json": ("info", "--json"),
        "runs": ("runs",),
        "config --show": ("config", "--show"),
        "estimate-vram --json": ("estimate-vram", "--vram-gb", "24", "--json"),
        "train --dry-run, 1,000 rows": dry_run,
    }


def extra_seconds(title: str) -> float:
    """CPU seconds above bare Python that a command may take."""
    if title.startswith("train"):
        return math.inf
    return ESTIMATE_SECONDS if title.startswith("estimate-vram") else EXTRA_SECONDS


def main() -> int:
    """Measure, print, judge. Returns the exit code."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        commands = prepare(directory)
        bare = least((), directory)
        print(f"{'':30}{'CPU s':>8}{'above':>8}{'RSS MB':>8}")
        print(f"{'python -c pass':30}{bare.cpu_seconds:8.3f}{'':8}{bare.megabytes:8.1f}")
        broken = 0
        for title, arguments in commands.items():
            cost = least(arguments, directory)
            extra = cost.cpu_seconds - bare.cpu_seconds
            limit = extra_seconds(title)
            over = bool(cost.heavy) or extra > limit or (math.isfinite(limit) and cost.megabytes > MEGABYTES)
            broken += over
            note = f"  loads {', '.join(cost.heavy)}" if cost.heavy else ""
            print(f"{title:30}{cost.cpu_seconds:8.3f}{extra:8.3f}{cost.megabytes:8.1f}{note}{'  OVER' if over else ''}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
