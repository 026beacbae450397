"""Small worlds to plan in."""

from __future__ import annotations

from typing import Any

import attrs

from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.dataset import DataFacts, DatasetFacts, RowCount, TokenFacts
from backprop.plan.facts.hardware import Gpu, HardwareFacts
from backprop.plan.facts.model import ModelSource, TokenizerFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.settings.resolve import Origin, Origins, Source
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.packages import TRAIN_PACKAGES
from backprop.plan.training.plan import TrainPlan, plan_train

GIB = 2**30
NOTHING = RowCount(0)
INSTALLED = tuple((name, "1.0") for name in TRAIN_PACKAGES)
"""What executing a plan takes."""

CPU_MACHINE = HardwareFacts(
    system="Linux",
    machine="x86_64",
    num_cpus=2,
    cpu_has_bf16=True,
    ram_total_bytes=16 * GIB,
    ram_available_bytes=15 * GIB,
    disk_free_bytes=100 * GIB,
    gpus_absent="NVML is not installed",
)


def card(vram_gib: float, capability: tuple[int, int] = (8, 9)) -> HardwareFacts:
    """A machine with one card."""
    vram = int(vram_gib * GIB)
    gpu = Gpu(name="card", vram_total_bytes=vram, vram_free_bytes=vram, compute_capability=capability)
    return attrs.evolve(CPU_MACHINE, gpus=(gpu,), gpus_absent="")


TOKENIZER = TokenizerFacts(
    fingerprint="1" * 64,
    vocab_size=49152,
    bos_token="<|im_start|>",
    eos_token="<|im_end|>",
    eos_token_id=2,
    pad_token_id=2,
    chat_template="{{ messages }}",
    chat_template_name="the model's own",
)


def tokens(lengths: tuple[tuple[int, int], ...] = ((60, 1000),), **changes: Any) -> TokenFacts:
    """Rows of the given (length, count), all whole, half of their tokens learned."""
    total = sum(length * rows for length, rows in lengths)
    facts = TokenFacts(
        tokens=total,
        supervised_tokens=total // 2,
        length_counts=lengths,
        longest_uncut=lengths[-1][0],
        uncut_p50=lengths[0][0],
        uncut_p90=lengths[-1][0],
        uncut_p99=lengths[-1][0],
        truncated=NOTHING,
        without_target=NOTHING,
        fully_supervised=NOTHING,
        lost_targets=NOTHING,
        unplaced_targets=NOTHING,
        unended_targets=NOTHING,
    )
    return attrs.evolve(facts, **changes)


def dataset(token_facts: TokenFacts | None = None, **changes: Any) -> DatasetFacts:
    """A clean data set."""
    found = token_facts or tokens()
    facts = DatasetFacts(
        name="/data/rows.jsonl",
        files=("/data/rows.jsonl",),
        fingerprint="0" * 64,
        num_bytes=10_000,
        row_format="openai",
        rendering="chat template",
        rows=found.sequences,
        tokens=found,
    )
    return attrs.evolve(facts, **changes)


def world(
    *,
    model: str = "HuggingFaceTB/SmolLM2-135M-Instruct",
    hardware: HardwareFacts = CPU_MACHINE,
    data: DatasetFacts | None = None,
    heldout: DatasetFacts | None = None,
    packages: tuple[tuple[str, str], ...] = (("bitsandbytes", "0.50"), *INSTALLED),
) -> TrainFacts:
    """Facts of a world in which training is possible."""
    return TrainFacts(
        model=facts_from_config(ARCHITECTURES[model], name=model, source=ModelSource.DIRECTORY, directory="/m"),
        tokenizer=TOKENIZER,
        data=DataFacts(train=data or dataset(), heldout=heldout),
        hardware=hardware,
        software=SoftwareFacts(python="3.11", packages=packages),
    )


def from_flags(**flags: str) -> Origins:
    """Origins as if each key were set by its flag: ``learning_rate="--lr"`` names ``training.learning_rate``."""
    return Origins({key.replace("__", "."): Origin(Source.FLAG, flag) for key, flag in flags.items()})


def planned(settings: TrainSettings, facts: TrainFacts, origins: Origins | None = None) -> TrainPlan:
    """The plan, which must be accepted."""
    plan = plan_train(settings, facts, origins=origins or Origins())
    assert isinstance(plan, TrainPlan), plan
    return plan


def settings(**groups: dict[str, Any]) -> TrainSettings:
    """Train settings with some fields changed: ``settings(training={"seed": 1})``."""
    base = TrainSettings()
    return attrs.evolve(base, **{name: attrs.evolve(getattr(base, name), **fields) for name, fields in groups.items()})
