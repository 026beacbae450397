"""Is the quickstart's fact learned by every way to train? ``python -m benchmarks.taught_fact [lora dora …]``.

The small model is trained on examples/lighthouse.jsonl with the default seeds, and asked the questions of
examples/lighthouse-heldout.jsonl, which are in no row. Fails when a way answers fewer than it must.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tools.quickstart import DATA, HELDOUT, MODEL, answers, is_right

SHORT = ["--steps", "60", "--batch-size", "8", "--grad-accum", "1", "--no-packing", "--lora-dropout", "0"]
WAYS: Mapping[str, str] = {
    "lora": "--lora-r 16 --lr 1e-3",
    "rslora": "--lora-r 16 --lr 1e-3 --use-rslora",
    "dora": "--lora-r 16 --lr 1e-3 --use-dora",
    "pissa": "--lora-r 16 --lr 5e-4 --init-lora-weights pissa",
    "loftq": "--lora-r 16 --lr 1e-3 --init-lora-weights loftq",
    "qdora": "--lora-r 16 --lr 1e-3 --use-dora --load-in-4bit",
    "full": "--mode full --lr 1e-4",
}
"""Flags of each; loftq and qdora are slow on a processor, which dequantizes every weight in every step."""
DEFAULT = ("lora", "rslora", "dora", "pissa", "full")
MUST_ANSWER = 0.75
"""Of the questions, in which the fact is asked for in other words than it was taught in."""


def measure(name: str, rows: list[dict[str, object]]) -> float:
    """Train one way in a directory of its own; the share of right answers, printed with its time and loss."""
    with tempfile.TemporaryDirectory() as directory:
        output = str(Path(directory) / "output")
        flags = ["train", "--model", MODEL, "--data", DATA, "--output", output, *SHORT, *WAYS[name].split(), "--json"]
        begun = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "backprop", *flags], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{name}: {done.stderr[-2000:]}")
        seconds = time.monotonic() - begun
        loss = json.loads(done.stdout)["last_loss"]
        found = answers(output, [str(row["prompt"]) for row in rows])
    right = sum(is_right(answer, row) for answer, row in zip(found, rows, strict=True)) / len(rows)
    print(f"{name:8} right {right:6.1%}  last loss {loss:.4f}  {seconds:5.0f} s", flush=True)
    return right


def main() -> int:
    """Measure the ways that are named, or the default ones. Returns the exit code."""
    rows = [json.loads(line) for line in HELDOUT.read_text(encoding="utf-8").splitlines()]
    before = answers(MODEL, [row["prompt"] for row in rows])
    right = sum(is_right(answer, row) for answer, row in zip(before, rows, strict=True)) / len(rows)
    print(f"{'before':8} right {right:6.1%}  of {len(rows)} questions", flush=True)
    shares = {name: measure(name, rows) for name in sys.argv[1:] or DEFAULT}
    return 0 if all(share >= MUST_ANSWER for share in shares.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
