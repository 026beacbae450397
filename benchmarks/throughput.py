"""Tokens a second and time to the first step, beside a plain TRL script with the same settings, in turns.

    python -m benchmarks.throughput [--steps N] [--turns N] [--out FILE.json]

Three ways train an adapter on the same conversations, every token learned, one pass over the rows: the plain script,
``backprop train --no-packing``, and ``backprop train`` with its rows packed. The conversations have the lengths of
real ones; their words say nothing. Padding is what packing removes, so that packing can be 1 / (1 - padding share)
times as fast; of that it must reach PACKED, the unpacked run UNPACKED of the script's tokens a second, and the time
from the command to the beginning of the first step may be FIRST times the script's. Exits 1 when one of them is missed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import attrs

MODEL = ".models/SmolLM2-135M-Instruct"
LENGTHS = (38, 54, 62, 71, 83, 94, 107, 119, 132, 145, 159, 173, 188, 203, 221, 245, 272, 310, 368, 449, 997)
"""Every twentieth of the tokens, by the model's template, of 2,312 conversations of people with an assistant: the
chosen ones of harmless-base/test in Anthropic's hh-rlhf (github.com/anthropics/hh-rlhf, MIT); five turns on average."""
TURNS, TEMPLATE_TOKENS = 4, 45
"""Of a conversation here, and about what the template adds to its words."""
WORDS = ("time", "people", "year", "way", "day", "thing", "man", "world", "life", "hand", "part", "place", "work")
BATCH, RANK = 4, 16
UNPACKED, PACKED, FIRST = 0.98, 0.85, 1.1


@attrs.frozen
class Speed:
    """What one run took."""

    tokens_per_second: float
    """Padding left out; from the beginning of the first step to the end of the last."""
    first_step: float
    """Seconds from the command to the beginning of the first step."""
    padding: float | None = None
    """Share of the places in all batches that are padding."""


def write_conversations(path: Path, count: int) -> None:
    """Rows whose lengths are the quantiles of the real ones, in an order of their own."""
    rng = random.Random(0)
    lines = []
    for number in range(count):
        place = (number + 0.5) / count * (len(LENGTHS) - 1)
        low = int(place)
        tokens = LENGTHS[low] + (place - low) * (LENGTHS[low + 1] - LENGTHS[low])
        num_words = max(TURNS, round(tokens) - TEMPLATE_TOKENS)
        words = rng.choices(WORDS, k=num_words)
        cuts = [num_words * turn // TURNS for turn in range(TURNS + 1)]
        turns = [" ".join(words[start:stop]) for start, stop in itertools.pairwise(cuts)]
        messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]
        lines.append(json.dumps({"messages": messages}) + "\n")
    rng.shuffle(lines)
    path.write_text("".join(lines), encoding="utf-8")


def plain(model: str, data: Path, output: Path, steps: int, batch: int = BATCH) -> Speed:
    """The script's own words about its steps."""
    script = Path(__file__).with_name("plain_trl.py")
    words = [str(script), model, str(data), str(output), str(steps), str(batch), str(RANK)]
    begun, out, _ = _run(words)
    start, *_steps, last, whole = (json.loads(line) for _, line in out if line.startswith('{"'))
    rate = last["tokens"] / (last["at"] - start["begun"])
    return Speed(rate, start["begun"] - begun, 1 - whole["tokens"] / whole["places"])


def ours(model: str, data: Path, output: Path, steps: int | None, *flags: str) -> Speed:
    """The run's own metrics."""
    length = ["--epochs", "1"] if steps is None else ["--steps", str(steps)]
    words = ["-m", "backprop", "train", "--model", model, "--data", str(data), "--output", str(output), *length]
    words += ["--lora-r", str(RANK), "--lora-dropout", "0", "--target-modules", "all-linear"]
    words += ["--max-seq-length", "1024", "--train-on-prompt", "--backend", "cpu", "--log-format", "json", "--json"]
    begun, out, told = _run([*words, *flags])
    plan = json.loads("".join(text for _, text in out))["plan"]
    events = [(at, json.loads(text)) for at, text in told]
    start = next(at for at, event in events if event.get("event") == "MemoryChecked")  # just before the first step
    took = next(event["train_seconds"] for _, event in events if event.get("event") == "Finished")
    return Speed(plan["length"]["tokens"] / took, start - begun)


Lines = list[tuple[float, str]]
"""Each with the time at which it came."""


def _run(words: list[str]) -> tuple[float, Lines, Lines]:
    """When it began, and what it said on stdout and on stderr. Ends this program when it fails."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "true", "HF_HUB_OFFLINE": "1"}
    begun = time.time()
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, *words], stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        with ThreadPoolExecutor(2) as pool:
            out, told = pool.map(
                lambda stream: [(time.time(), line) for line in stream], (process.stdout, process.stderr)
            )
    if process.returncode:
        sys.exit(f"{' '.join(words)}: {''.join(line for _, line in told)[-2000:]}")
    return begun, out, told


def _timed(stream: IO[str]) -> Lines:
    return [(time.time(), line) for line in stream]


def main() -> int:
    """Measure in turns, print the medians, and judge. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    turns: dict[str, list[Speed]] = {"plain": [], "unpacked": [], "packed": [], "plain start": [], "our start": []}
    with tempfile.TemporaryDirectory() as where:
        data, out = Path(where, "rows.jsonl"), Path(where, "out")
        write_conversations(data, asked.steps * BATCH)
        apart = ("--no-packing", "--grad-accum", "1", "--batch-size")
        together = ("--packing", "--batch-size", "1", "--grad-accum", "2")
        for _ in range(asked.turns):
            turns["plain"].append(plain(asked.model, data, out, asked.steps))
            turns["unpacked"].append(ours(asked.model, data, out, asked.steps, *apart, str(BATCH)))
            turns["packed"].append(ours(asked.model, data, out, None, *together))
            for name, speeds in list(turns.items())[:3]:
                print(f"{name:9} {speeds[-1].tokens_per_second:7.1f} tokens/s", flush=True)
        # One row and one step: what the runs above leave in memory and take from the disk's cache is another matter.
        for _ in range(2 * asked.turns):
            turns["plain start"].append(plain(asked.model, data, out, 1, batch=1))
            turns["our start"].append(ours(asked.model, data, out, 1, *apart, "1"))
    rate = {name: statistics.median(s.tokens_per_second for s in speeds) for name, speeds in turns.items()}
    first = {name: statistics.median(s.first_step for s in speeds) for name, speeds in turns.items()}
    padding = statistics.median(s.padding for s in turns["plain"] if s.padding is not None)
    allowed = 1 / (1 - padding)
    unpacked, packed = rate["unpacked"] / rate["plain"], rate["packed"] / rate["plain"]
    within, start = rate["packed"] / rate["unpacked"], first["our start"] / first["plain start"]
    print(f"unpacked {unpacked:.2f} of the plain script's tokens a second (at least {UNPACKED})")
    print(f"padding {padding:.1%}, so packing may be {allowed:.2f} times as fast")
    print(f"packed {packed:.2f} times the plain script's: {packed / allowed:.2f} of that (at least {PACKED})")
    print(f"packed {within:.2f} times the unpacked run's: {within / allowed:.2f} of that")
    took, theirs = first["our start"], first["plain start"]
    print(f"first step after {took:.1f} s, the script's after {theirs:.1f} s: {start:.2f} (at most {FIRST})")
    if asked.out:
        found = {"padding": padding, "tokens_per_second": rate, "first_step": first}
        asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(unpacked < UNPACKED or packed < PACKED * allowed or start > FIRST)


if __name__ == "__main__":
    sys.exit(main())
