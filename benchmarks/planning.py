"""CPU seconds that planning takes inside of a program: one prediction, one estimate, and a scan over models and cards.

Always the least of some runs, since other processes only add; estimates and scans each begin in a process of their own,
so no cache knows their answers. ``--json`` prints the numbers. Exits 1 when a bound is broken.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import sys
import time
from collections.abc import Callable

import attrs

from backprop.plan.decision import Refused
from backprop.plan.estimate.plan import EstimateFacts, plan_estimate, with_card
from backprop.plan.estimate.question import Question
from backprop.plan.estimate.ways import WAYS, WayKind
from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.cards import CARDS
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts, ModelSource
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.memory.predict import predict
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.training import MemoryMethod, TrainingShape
from backprop.plan.settings.model import ModelSettings
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.verbs.estimate_vram import EstimateVramSettings
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.footprint import Footprint, Place, Sequences
from backprop.plan.training.rail import Rail

REPEATS, SCANS = 5, 3
NUM_PREDICTIONS = 50
PREDICTION_SECONDS = 200e-6
"""Of one prediction of other sizes than any before, where one of its structure was made before."""
SCAN_SECONDS = 2.0

MODEL = "Qwen/Qwen2.5-7B-Instruct"
MODELS = (
    "Qwen/Qwen2.5-0.5B-Instruct",
    "Qwen/Qwen2.5-1.5B-Instruct",
    "Qwen/Qwen2.5-3B-Instruct",
    "Qwen/Qwen2.5-7B-Instruct",
    "Qwen/Qwen2.5-14B-Instruct",
    "Qwen/Qwen2.5-32B-Instruct",
    "Qwen/Qwen2.5-72B-Instruct",
    "Qwen/Qwen3-4B",
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3-30B-A3B",
    "meta-llama/Llama-3.2-1B-Instruct",
    "meta-llama/Llama-3.2-3B-Instruct",
    "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct",
    "mistralai/Mistral-7B-Instruct-v0.3",
    "mistralai/Mistral-Small-24B-Instruct-2501",
    "microsoft/Phi-4-mini-instruct",
    "google/gemma-2-9b-it",
    "HuggingFaceTB/SmolLM3-3B",
    "allenai/OLMo-2-1124-7B-Instruct",
)
"""20 of the built-in table, one of them a mixture of experts."""
MACHINE = HardwareFacts(
    system="Linux",
    machine="x86_64",
    num_cpus=16,
    cpu_has_bf16=True,
    ram_total_bytes=256 * 2**30,
    ram_available_bytes=240 * 2**30,
    disk_free_bytes=None,
)
SOFTWARE = SoftwareFacts(python="3.11", packages=(("bitsandbytes", "any"),))
CARD_SIZES = sorted({card.vram_gib for card in CARDS})
"""GiB: 10 of them."""


def _with_dora(kind: WayKind) -> WayKind:
    def of(settings: TrainSettings) -> TrainSettings:
        settings = kind.of(settings)
        return attrs.evolve(settings, lora=attrs.evolve(settings.lora, use_dora=True))

    return WayKind(f"{kind.name}, DoRA", f"{kind.flags} --use-dora", of)


METHODS = (*WAYS, *(_with_dora(kind) for kind in WAYS if not kind.name.startswith("full")))
"""Six ways to train."""


def prediction(method: MemoryMethod) -> float:
    """CPU seconds of one prediction, from the mean over sizes that differ."""
    shape = MemoryShape.of(model_named(MODEL))
    training = TrainingShape(method=method)
    predict(shape, training)
    lengths = range(1024, 1024 + REPEATS * NUM_PREDICTIONS)
    trainings = iter([attrs.evolve(training, sequence=length) for length in lengths])

    def some() -> None:
        for _ in range(NUM_PREDICTIONS):
            predict(shape, next(trainings))

    return min(_seconds(some) for _ in range(REPEATS)) / NUM_PREDICTIONS


def estimates() -> tuple[float, float]:
    """CPU seconds of the first estimate of a process and of one of another length after it."""
    first = _seconds(lambda: _estimate(2048))
    return first, min(_seconds(functools.partial(_estimate, length)) for length in (1024, 1536, 3072))


def scan() -> float:
    """CPU seconds to plan every model on every card by every method: whether it fits, recomputing or not, and how."""
    return _seconds(lambda: [plan_everywhere(model_named(name)) for name in MODELS])


def _estimate(length: int) -> None:
    settings = EstimateVramSettings(name=MODEL, vram_gb=24, model=ModelSettings(max_seq_length=length))
    report = plan_estimate(settings, EstimateFacts(model_named(MODEL), MACHINE, SOFTWARE), origins=Origins())
    assert not isinstance(report, Refused), report


def plan_everywhere(model: ModelFacts) -> list[bool]:
    """Whether sequences of 2,048 tokens fit, card by card and on each method by method."""
    run = TrainSettings()
    questions = [
        Question(
            run=run,
            place=Place(model, with_card(MACHINE, size), SOFTWARE, Rail.CUDA),
            sequences=Sequences(run.model.max_seq_length, is_packed=True),
            origins=Origins(),
        )
        for size in CARD_SIZES
    ]
    footprints = [question.footprint(method.of(run)) for question in questions for method in METHODS]
    return [isinstance(one, Footprint) and one.fit.fits for one in footprints]


def model_named(name: str) -> ModelFacts:
    """A model of the built-in table."""
    return facts_from_config(ARCHITECTURES[name], name=name, source=ModelSource.TABLE)


def _seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def measure() -> dict[str, float]:
    """CPU seconds by what is measured."""
    costs = {f"a prediction, {method.value}": prediction(method) for method in MemoryMethod}
    # Spawned, one call each: nothing is remembered from the call before.
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        first, after = zip(*(pool.apply(estimates) for _ in range(REPEATS)), strict=True)
        costs["an estimate, the first"] = min(first)
        costs["an estimate, after another"] = min(after)
        answers = f"{len(MODELS)} models × {len(CARD_SIZES)} cards × {len(METHODS)} methods"
        costs[f"a scan of {answers}"] = min(pool.apply(scan) for _ in range(SCANS))
    return costs


def bound(name: str) -> float | None:
    """CPU seconds that ``name`` may take; None where nothing is promised."""
    bounds = {"a prediction": PREDICTION_SECONDS, "a scan": SCAN_SECONDS}
    return next((seconds for start, seconds in bounds.items() if name.startswith(start)), None)


def main() -> int:
    """Measure, print, judge. Returns the exit code."""
    parser = argparse.ArgumentParser(description="CPU seconds of planning, in-process.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    as_json = parser.parse_args().json
    costs = measure()
    over = {name for name, seconds in costs.items() if seconds > (bound(name) or seconds)}
    if as_json:
        print(json.dumps({name: {"cpu_seconds": costs[name], "bound": bound(name)} for name in costs}, indent=2))
        return int(bool(over))
    print(f"{'':58}{'CPU ms':>10}{'bound':>10}")
    for name, seconds in costs.items():
        limit = bound(name)
        print(
            f"{name:58}{seconds * 1e3:10.3f}{'' if limit is None else f'{limit * 1e3:g}':>10}"
            f"{'  OVER' if name in over else ''}"
        )
    return int(bool(over))


if __name__ == "__main__":
    sys.exit(main())
