"""Small runs of the executor, and the same run as somebody would write it with TRL alone."""

from __future__ import annotations

import array
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors.torch import load_file

from backprop.effects.monitor import Card
from backprop.effects.train.first_batch import CardMemory
from backprop.effects.train.session import train
from backprop.effects.train.task import PlannedMemory, TrainResult, TrainTask
from backprop.plan.data.order import epoch_order
from backprop.plan.events import Event, Step
from backprop.plan.facts.dataset import Ratings
from backprop.plan.facts.model import ModelFacts, ModelSource
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.training import TrainMode
from backprop.plan.training.evaluation import EvaluationState
from backprop.plan.training.plan import TrainPlan
from tests.plan.training.worlds import CPU_MACHINE, dataset, planned, settings, tokens, world

Row = tuple[list[int], list[int]]


class ListRows:
    """Rows in a list, in the shape of a token store."""

    def __init__(self, rows: list[Row], good: list[bool] | None = None) -> None:
        self.rows = rows
        self.good = good

    def __len__(self) -> int:
        return len(self.rows)

    def length(self, index: int) -> int:
        return len(self.rows[index][0])

    def row(self, index: int) -> tuple[memoryview, memoryview]:
        ids, mask = self.rows[index]
        return memoryview(array.array("i", ids)), memoryview(bytearray(mask))

    def is_good(self, index: int) -> bool:
        return self.good[index] if self.good else True


def make_rows(count: int, *, seed: int = 0, longest: int = 40) -> list[Row]:
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        length = generator.randint(6, longest)
        learned = generator.randint(2, length - 2)
        rows.append(([generator.randrange(3, 259) for _ in range(length)], [0] * (length - learned) + [1] * learned))
    return rows


def make_plan(model_dir: Path, rows: list[Row], *, heldout: list[Row] | None = None, **groups: Any) -> TrainPlan:
    method = groups.get("training", {}).get("method", Objective.SFT)

    def facts_of(some: list[Row]) -> Any:
        lengths: dict[int, int] = {}
        each = method.sequences_per_row
        for place in range(0, len(some), each):
            longest = max(len(ids) for ids, _ in some[place : place + each])
            lengths[longest] = lengths.get(longest, 0) + 1
        ratings = Ratings(len(some) // 2, len(some) - len(some) // 2) if method is Objective.KTO else None
        return dataset(tokens(tuple(sorted(lengths.items()))), ratings=ratings)

    base = {"training": {"max_steps": 4, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}}
    merged = {name: {**base.get(name, {}), **groups.get(name, {})} for name in {*base, *groups, "lora"}}
    if merged["training"].get("mode") is not TrainMode.FULL:
        merged["lora"] = {"r": 4, "lora_dropout": 0.0, **merged["lora"]}
    facts = world(
        data=facts_of(rows),
        heldout=facts_of(heldout) if heldout else None,
        hardware=attrs.evolve(CPU_MACHINE, cpu_has_bf16=False),
    )
    assert isinstance(facts.model, ModelFacts)
    tiny = attrs.evolve(facts.model, name=str(model_dir), directory=str(model_dir), source=ModelSource.DIRECTORY)
    return planned(settings(**merged), attrs.evolve(facts, model=tiny))


@attrs.define
class Trained:
    result: TrainResult
    events: list[Event]
    directory: Path

    @property
    def losses(self) -> list[float]:
        return [e.loss for e in self.events if isinstance(e, Step)]

    def weights(self, step: int) -> dict[str, torch.Tensor]:
        (file,) = (self.directory / f"checkpoint-{step}").glob("*model.safetensors")
        loaded: dict[str, torch.Tensor] = load_file(file)
        return loaded


def run(
    plan: TrainPlan,
    rows: list[Row],
    directory: Path,
    *,
    heldout: list[Row] | None = None,
    good: list[bool] | None = None,
    heldout_good: list[bool] | None = None,
    resume_from: Path | None = None,
    on_event: Callable[[Event], None] = lambda _event: None,
    card: Card | None = None,
    memory: CardMemory | None = None,
    planned_memory: PlannedMemory | None = None,
) -> Trained:
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        on_event(event)

    def commit(staged: Path, step: int) -> Path:
        return staged.rename(directory / f"checkpoint-{step}")

    directory.mkdir(parents=True, exist_ok=True)
    assert plan.model.directory is not None
    task = TrainTask(
        model_dir=plan.model.directory,
        staging_dir=directory / ".partial-checkpoint",
        rows=ListRows(rows, good),
        heldout=ListRows(heldout, heldout_good) if heldout else None,
        resume_from=resume_from,
        evaluations=EvaluationState(),
        commit_checkpoint=commit,
        planned_memory=planned_memory,
    )
    return Trained(train(plan, task, emit=emit, card=card, memory=memory), events, directory)


def plain_trl_losses(plan: TrainPlan, rows: list[Row], directory: Path) -> tuple[list[float], dict[str, torch.Tensor]]:
    """What somebody would write with TRL alone, given the rows in the order of the plan."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
    from trl import SFTConfig, SFTTrainer

    order: list[int] = []
    epoch = 0
    while len(order) < plan.length.steps.value * plan.batch.effective:
        order += epoch_order(len(rows), seed=plan.seed, epoch=epoch, shuffle=True)
        epoch += 1
    data = Dataset.from_list(
        [{"input_ids": rows[i][0], "labels": [t if m else -100 for t, m in zip(*rows[i], strict=True)]} for i in order]
    )
    losses: list[float] = []
    adapter = plan.adapter
    assert adapter is not None

    class Losses(TrainerCallback):  # type: ignore[misc]
        def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
            if "loss" in logs:
                losses.append(logs["loss"])

    model = AutoModelForCausalLM.from_pretrained(plan.model.directory, dtype=torch.float32)
    set_seed(adapter.seed)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(directory),
            max_steps=plan.length.steps.value,
            per_device_train_batch_size=plan.batch.micro_batch.value,
            gradient_accumulation_steps=plan.batch.accumulation.value,
            learning_rate=plan.learning_rate.peak.value,
            warmup_steps=plan.learning_rate.warmup_steps.value,
            lr_scheduler_type="cosine",
            weight_decay=0.01,
            optim="adamw_torch_fused",
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            seed=adapter.seed,
            train_sampling_strategy="sequential",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
        ),
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(plan.model.directory),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=adapter.rank.value,
            lora_alpha=adapter.alpha.value,
            lora_dropout=adapter.dropout,
            target_modules=list(adapter.targets.value),
        ),
        callbacks=[Losses()],
    )
    trainer.train()
    trainer.save_model(str(directory / "final"))
    return losses, load_file(directory / "final" / "adapter_model.safetensors")
