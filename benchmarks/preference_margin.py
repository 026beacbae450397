"""Does the margin between better and worse answers grow on rows that were never trained on? For each preference method.

    python -m benchmarks.preference_margin [MODEL] [--out FILE.json]

A preference that a model does not have by itself: answers in capital letters over the same answers in small ones. The
rows are made here; of 96 questions 32 are held out, by their number. Before and after a short run the reward of each
held-out answer is taken as the method defines it, and per row the change of the margin: for ORPO and SimPO chosen over
rejected, for KTO, whose rows are single answers, the same pair's good answer over its bad one. Seeds are 0, 1 and 2,
of data order and adapter alike. The interval is Student's over the seeds' rows averaged by row (32 paired changes).
Rates are below each method's clamp, and stated in the output with the steps. Exits 1 unless every interval is above 0.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from backprop import Trainer
from backprop.effects.files.token_store import RowSinks, TokenStore
from backprop.effects.probe.dataset import observe_data
from backprop.effects.probe.tokenizer import ChatTokenizer, observe_tokenizer
from backprop.effects.train.sequences import IGNORED_LABEL, tensors_of
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.data import DataSettings

MODEL = ".models/SmolLM2-135M-Instruct"
SEEDS = (0, 1, 2)
RATES = {Objective.ORPO: 2e-4, Objective.SIMPO: 9e-6, Objective.KTO: 4.5e-6}
"""Those of SimPO and KTO are below their clamps, 1e-5 and 5e-6. ORPO has none, and a rate as for supervised learning,
which its loss is for the most part: at first the likelihood of both answers rises, and only then do they part."""
STEPS = {Objective.ORPO: 40, Objective.SIMPO: 12, Objective.KTO: 12}
BETAS = {Objective.ORPO: 0.1, Objective.SIMPO: 2.0, Objective.KTO: 0.1}
STUDENT_95 = 2.0395
"""Of 31 degrees of freedom, two-sided."""
THINGS = ("a cat", "the sea", "an apple", "my house", "a river", "the moon", "a book", "some bread")
QUESTIONS = ("What is {}?", "Tell me about {}.", "Where do I find {}?", "Who likes {}?")
ANSWERS = ("That is {}, plain and simple.", "People know {} well.", "You will see {} soon.")


@attrs.frozen
class Pair:
    """A question with its answer in capitals, which is preferred, and in small letters."""

    prompt: str
    chosen: str
    rejected: str


def pairs() -> list[Pair]:
    """All 96."""
    found = []
    for number, (thing, question) in enumerate((t, q) for t in THINGS for q in QUESTIONS):
        for answer in ANSWERS:
            text = answer.format(thing)
            found.append(Pair(f"{question.format(thing)} ({number})", text.upper(), text.lower()))
    return found


def write_rows(path: Path, rows: list[Pair], *, rated: bool) -> Path:
    """As pairs, or as two rated answers each."""
    lines: list[dict[str, object]] = []
    for row in rows:
        if rated:
            lines.append({"prompt": row.prompt, "completion": row.chosen, "label": True})
            lines.append({"prompt": row.prompt, "completion": row.rejected, "label": False})
        else:
            lines.append(attrs.asdict(row))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def stored(model: str, path: Path) -> TokenStore:
    """The answers of a file of pairs as they are trained on."""
    tokenizer = observe_tokenizer(model, chat_template=None)
    assert isinstance(tokenizer, ChatTokenizer)
    sinks = RowSinks()
    settings = DataSettings(dataset_name=str(path))
    observe_data(settings, max_seq_length=128, seed=0, tokenizer=tokenizer, method=Objective.ORPO, rows=sinks)
    return sinks.train


@torch.no_grad()
def log_probs(model: torch.nn.Module, rows: TokenStore) -> Iterator[tuple[float, int]]:
    """(sum of the log-probabilities of an answer's tokens, how many these are), one answer at a time."""
    model.eval()
    for index in range(len(rows)):
        row = tensors_of(rows, index)
        logits = model(input_ids=row["input_ids"][None]).logits[0, :-1].float()
        labels = row["labels"][1:]
        chosen = logits.log_softmax(-1).gather(1, labels.clamp(min=0)[:, None])[:, 0]
        learned = labels != IGNORED_LABEL
        yield chosen[learned].sum().item(), int(learned.sum())


def margins(method: Objective, scores: list[tuple[float, int]], reference: list[tuple[float, int]]) -> list[float]:
    """The margin of each pair by the method's own reward."""
    beta = BETAS[method]
    if method is Objective.KTO:
        rewards = [beta * (score - base) for (score, _), (base, _) in zip(scores, reference, strict=True)]
    else:
        rewards = [beta * score / count for score, count in scores]
    return [better - worse for better, worse in zip(rewards[::2], rewards[1::2], strict=True)]


def trained(method: Objective, seed: int, model: str, train: Path, directory: Path) -> PeftModel:
    """The adapter after a run of the program's own workflow."""
    trainer = Trainer(
        model,
        method=method.value,
        learning_rate=RATES[method],
        max_steps=STEPS[method],
        per_device_train_batch_size=2 if method is not Objective.KTO else 4,
        gradient_accumulation_steps=2,
        max_seq_length=128,
        r=16,
        seed=seed,
        random_state=seed,
        output_dir=str(directory),
        dtype="float32",
        backend="cpu",
    )
    report = trainer.train(train)
    assert report.adapter is not None
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), report.adapter)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=MODEL)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rows = pairs()
    heldout = rows[::3]
    train = [row for number, row in enumerate(rows) if number % 3]
    results = []
    with tempfile.TemporaryDirectory() as where:
        directory = Path(where)
        measured_on = stored(asked.model, write_rows(directory / "heldout.jsonl", heldout, rated=False))
        base = AutoModelForCausalLM.from_pretrained(asked.model, dtype=torch.float32)
        before = list(log_probs(base, measured_on))
        for method in RATES:
            began = time.perf_counter()
            data = write_rows(directory / f"{method.value}.jsonl", train, rated=method is Objective.KTO)
            start = margins(method, before, before)
            changes, ends = [], []
            for seed in SEEDS:
                model = trained(method, seed, asked.model, data, directory / f"{method.value}-{seed}")
                end = margins(method, list(log_probs(model, measured_on)), before)
                ends.append(statistics.mean(end))
                changes.append([after - first for after, first in zip(end, start, strict=True)])
            by_row = [statistics.mean(row) for row in zip(*changes, strict=True)]
            half = STUDENT_95 * statistics.stdev(by_row) / math.sqrt(len(by_row))
            mean = statistics.mean(by_row)
            results.append(
                {
                    "method": method.value,
                    "learning_rate": RATES[method],
                    "steps": STEPS[method],
                    "margin_before": statistics.mean(start),
                    "margin_after_by_seed": ends,
                    "change": mean,
                    "interval_95": [mean - half, mean + half],
                    "seconds": time.perf_counter() - began,
                }
            )
            print(
                f"{method.value:6} lr {RATES[method]:g}  {STEPS[method]} steps  "
                f"margin {statistics.mean(start):+.3e} -> "
                f"{', '.join(f'{end:+.3e}' for end in ends)}  change {mean:+.3e} "
                f"[{mean - half:+.3e}, {mean + half:+.3e}]  {results[-1]['seconds']:.0f} s",
                flush=True,
            )
    if asked.out:
        asked.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return int(any(result["interval_95"][0] <= 0 for result in results))


if __name__ == "__main__":
    sys.exit(main())
