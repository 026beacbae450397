"""Fine-tune the small model on the lighthouse example, show what it answers before and after, and from a GGUF file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from backprop.cli.style import Style, style_for
from backprop.effects.export.llama_server import loaded
from backprop.effects.generate import continue_prompt, load_model
from backprop.plan.decision import Refused
from backprop.plan.errors import BackpropError
from backprop.plan.settings.verbs.generate import GenerateSettings
from backprop.workflows.generate import prepare, text_of
from backprop.workflows.weights import weights_directory

MODEL = ".models/SmolLM2-135M-Instruct"
DATA = "examples/lighthouse.jsonl"
HELDOUT = Path("examples/lighthouse-heldout.jsonl")
OUTPUT = "quickstart-output"
EXPORTED = ("q8_0", "q4_k_m")
TRAIN = (
    *f"train --model {MODEL} --data {DATA} --output {OUTPUT} --steps 60 --batch-size 8 --grad-accum 1".split(),
    *["--no-packing", "--lora-r", "16", "--lora-dropout", "0", "--lr", "1e-3"],
)


def answers(target: str, prompts: list[str]) -> list[str]:
    """The likeliest answer to each prompt; the model is loaded once. Raises ``BackpropError``."""
    found: list[str] = []
    model = None
    for prompt in prompts:
        settings = GenerateSettings(adapter_path=target, prompt=prompt, temperature=0.0, max_new_tokens=40)
        prepared = prepare(settings)
        if isinstance(prepared, Refused):
            raise BackpropError(*prepared.problems)
        if model is None:
            model = load_model(prepared.plan, str(weights_directory(prepared.plan.model)))
        (continuation,) = continue_prompt(model, prepared.plan)
        found.append(" ".join(text_of(prepared, continuation.ids).split()))
    return found


def answers_of_file(file: Path, prompts: list[str], *, lora: Path | None = None) -> list[str]:
    """What llama.cpp answers with an exported file, and an adapter over it if given: the likeliest token each time."""
    with loaded(file, lora=lora, num_threads=2) as model:
        rendered = [model.render([{"role": "user", "content": prompt}]) for prompt in prompts]
        texts = [model.complete(model.tokenize(text), max_tokens=40) for text in rendered]
    return [" ".join(text.split()) for text in texts]


def export(source: str, kind: str, *flags: str) -> Path:
    """The GGUF file that an export writes."""
    target = Path(f"{OUTPUT}-{kind}")
    command = ["export", source, "--output", str(target), *flags]
    print(f"\n$ backprop {' '.join(command)}", flush=True)
    subprocess.run([sys.executable, "-m", "backprop", *command], check=True)
    (file,) = target.glob("*.gguf")
    return file


def is_right(answer: str, row: dict[str, object]) -> bool:
    """Whether the answer holds the reference, or one of them."""
    references = row.get("references", [row.get("reference")])
    assert isinstance(references, list)
    return any(str(reference).lower() in answer.lower() for reference in references)


def main() -> int:
    """Answer, train, answer again, compare. Returns the exit code."""
    begun = time.monotonic()
    style = style_for(sys.stdout, environ={}, columns=shutil.get_terminal_size().columns, encoding=sys.stdout.encoding)
    rows = [json.loads(line) for line in HELDOUT.read_text(encoding="utf-8").splitlines()]
    prompts = [row["prompt"] for row in rows]
    print(f"Asking {MODEL} {len(prompts)} questions that are not in {DATA} ...", flush=True)
    before = answers(MODEL, prompts)
    print(style.bold(f"\n$ backprop {' '.join(TRAIN)}"), flush=True)
    code = subprocess.run([sys.executable, "-m", "backprop", *TRAIN], check=False).returncode
    if code:
        return code
    print("\nAsking again, now with the adapter ...\n", flush=True)
    after = answers(OUTPUT, prompts)
    print(comparison(rows, before, after, style))
    for quantization in EXPORTED:
        merged = export(OUTPUT, quantization, "--format", "gguf", "--quantization", quantization)
        print(told(quantization, rows, answers_of_file(merged, prompts)), flush=True)
    base = export(MODEL, "base", "--format", "gguf", "--quantization", "q8_0", "--no-verify")
    adapter = export(OUTPUT, "unmerged", "--format", "ollama-adapter", "--no-register")
    print(told("the adapter over the base's q8_0", rows, answers_of_file(base, prompts, lora=adapter)), flush=True)
    print(f'\n$ backprop generate {OUTPUT} "{prompts[0]}"   asks it something yourself.')
    print(f"Done in {(time.monotonic() - begun) / 60:.1f} minutes.")
    return 0


def told(what: str, rows: list[dict[str, object]], found: list[str]) -> str:
    """The first answer that llama.cpp gave, and how many were right."""
    right = sum(map(is_right, found, rows))
    return f"\n{rows[0]['prompt']}\n  {what}, in llama.cpp: {found[0]}\nRight: {right} of {len(rows)}."


def comparison(rows: list[dict[str, object]], before: list[str], after: list[str], style: Style) -> str:
    """The answers side by side, and how many were right."""
    lines = []
    for row, old, new in zip(rows, before, after, strict=True):
        right = is_right(new, row)
        lines.append(style.bold(str(row["prompt"])))
        lines.append(
            style.pairs([("before", style.dim(old)), ("after", (style.green if right else style.red)(new))], indent=2)
        )
    scores = [sum(is_right(a, row) for a, row in zip(found, rows, strict=True)) for found in (before, after)]
    lines.append(f"\nRight before: {scores[0]} of {len(rows)}. Right after: {scores[1]} of {len(rows)}.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
