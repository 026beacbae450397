"""The executor does what the plan says: against a plain TRL script, packed against unpacked, resumed against whole."""

from __future__ import annotations

import array
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from safetensors.torch import load_file
from trl.trainer import utils as trl_utils

from backprop.effects.train.interrupts import stop_requests
from backprop.effects.train.sequences import IGNORED_LABEL, TrainingBatches
from backprop.effects.train.session import train
from backprop.effects.train.task import TrainResult, TrainTask
from backprop.plan.data.order import epoch_order
from backprop.plan.errors import BackpropError
from backprop.plan.events import Evaluated, Event, Step, StoppedEarly
from backprop.plan.facts.model import ModelSource
from backprop.plan.settings.training import Optimizer, Scheduler
from backprop.plan.training.evaluation import EvaluationState
from backprop.plan.training.plan import TrainPlan
from tests.plan.training.worlds import CPU_MACHINE, dataset, planned, settings, tokens, world
from tests.tiny import make_tiny_model

Row = tuple[list[int], list[int]]


class ListRows:
    """Rows in a list, in the shape of a token store."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def length(self, index: int) -> int:
        return len(self.rows[index][0])

    def row(self, index: int) -> tuple[memoryview, memoryview]:
        ids, mask = self.rows[index]
        return memoryview(array.array("i", ids)), memoryview(bytearray(mask))


def make_rows(count: int, *, seed: int = 0, longest: int = 40) -> list[Row]:
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        length = generator.randint(6, longest)
        learned = generator.randint(2, length - 2)
        rows.append(([generator.randrange(3, 259) for _ in range(length)], [0] * (length - learned) + [1] * learned))
    return rows


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


def make_plan(model_dir: Path, rows: list[Row], *, heldout: list[Row] | None = None, **groups: Any) -> TrainPlan:
    def facts_of(some: list[Row]) -> Any:
        lengths: dict[int, int] = {}
        for ids, _ in some:
            lengths[len(ids)] = lengths.get(len(ids), 0) + 1
        return dataset(tokens(tuple(sorted(lengths.items()))))

    base = {"training": {"max_steps": 4, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}}
    merged = {name: {**base.get(name, {}), **groups.get(name, {})} for name in {*base, *groups, "lora"}}
    merged["lora"] = {"r": 4, "lora_dropout": 0.0, **merged["lora"]}
    facts = world(
        data=facts_of(rows),
        heldout=facts_of(heldout) if heldout else None,
        hardware=attrs.evolve(CPU_MACHINE, cpu_has_bf16=False),
    )
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
        return load_file(self.directory / f"checkpoint-{step}" / "adapter_model.safetensors")


def run(
    plan: TrainPlan,
    rows: list[Row],
    directory: Path,
    *,
    heldout: list[Row] | None = None,
    resume_from: Path | None = None,
    on_event: Callable[[Event], None] = lambda _event: None,
) -> Trained:
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        on_event(event)

    def commit(staged: Path, step: int) -> None:
        staged.rename(directory / f"checkpoint-{step}")

    directory.mkdir(parents=True, exist_ok=True)
    assert plan.model.directory is not None
    task = TrainTask(
        model_dir=plan.model.directory,
        staging_dir=directory / ".partial-checkpoint",
        rows=ListRows(rows),
        heldout=ListRows(heldout) if heldout else None,
        resume_from=resume_from,
        evaluations=EvaluationState(),
        commit_checkpoint=commit,
    )
    return Trained(train(plan, task, emit=emit), events, directory)


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

    class Losses(TrainerCallback):
        def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
            if "loss" in logs:
                losses.append(logs["loss"])

    model = AutoModelForCausalLM.from_pretrained(plan.model.directory, dtype=torch.float32)
    set_seed(plan.adapter.seed)
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
            seed=plan.adapter.seed,
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
            r=plan.adapter.rank.value,
            lora_alpha=plan.adapter.alpha.value,
            lora_dropout=plan.adapter.dropout,
            target_modules=list(plan.adapter.targets.value),
        ),
        callbacks=[Losses()],
    )
    trainer.train()
    trainer.save_model(str(directory / "final"))
    return losses, load_file(directory / "final" / "adapter_model.safetensors")


def test_losses_and_adapter_equal_a_plain_trl_script(model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(10)
    plan = make_plan(
        model_dir, rows, data={"packing": False}, training={"logging_steps": 1, "max_steps": 6, "learning_rate": 1e-2}
    )
    ours = run(plan, rows, tmp_path / "ours")
    losses, weights = plain_trl_losses(plan, rows, tmp_path / "plain")
    assert ours.losses == pytest.approx(losses, abs=1e-5)
    assert len(set(ours.losses)) == 6
    for name, tensor in ours.weights(6).items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=1e-5)


def in_one_pass(plan: TrainPlan) -> TrainPlan:
    """One step over all sequences, so that packed and unpacked see the same rows whatever their order."""
    micro = attrs.evolve(plan.batch.micro_batch, value=plan.length.sequences)
    one = attrs.evolve(plan.batch.accumulation, value=1)
    return attrs.evolve(plan, batch=attrs.evolve(plan.batch, micro_batch=micro, accumulation=one))


def test_packed_rows_learn_as_if_they_stood_alone(model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(16, longest=20)
    changes = {"max_steps": 1, "learning_rate": 1.0, "warmup_steps": 0, "optim": Optimizer.SGD, "max_grad_norm": 1e9}
    batch_of_one = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
    packed = make_plan(model_dir, rows, model={"max_seq_length": 40}, training=changes | batch_of_one)
    unpacked = make_plan(model_dir, rows, data={"packing": False}, training=changes)
    assert packed.batch.packing.value
    assert packed.length.sequences < unpacked.length.sequences == len(rows)
    one = run(in_one_pass(packed), rows, tmp_path / "packed")
    two = run(in_one_pass(unpacked), rows, tmp_path / "unpacked")
    assert one.losses == pytest.approx(two.losses, abs=1e-5)
    moved = 0.0
    for name, tensor in one.weights(1).items():
        torch.testing.assert_close(tensor, two.weights(1)[name], rtol=0, atol=1e-5)
        moved = max(moved, tensor.abs().max().item() if "lora_B" in name else 0.0)
    assert moved > 1e-3, "the step moved the weights, so that equal weights mean equal gradients"


def test_a_resumed_run_ends_bit_identical_to_an_uninterrupted_one(model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(10)
    plan = make_plan(
        model_dir,
        rows,
        training={"max_steps": 6, "save_steps": 2, "logging_steps": 1},
        lora={"lora_dropout": 0.3},
    )
    whole = run(plan, rows, tmp_path / "whole")
    resumed = run(plan, rows, tmp_path / "resumed", resume_from=tmp_path / "whole" / "checkpoint-2")
    assert whole.losses[2:] == resumed.losses
    for name, tensor in whole.weights(6).items():
        assert torch.equal(tensor, resumed.weights(6)[name]), name
    assert not list(tmp_path.rglob(".partial*"))


def test_a_checkpoint_holds_everything_that_changes(model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(10)
    done = run(make_plan(model_dir, rows, training={"max_steps": 2}), rows, tmp_path)
    names = {p.name for p in (done.directory / "checkpoint-2").iterdir()}
    assert {"adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"} <= names
    assert "tokenizer.json" not in names


def test_the_heldout_loss_is_the_mean_over_all_supervised_tokens(model_dir: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    rows, heldout = make_rows(10), make_rows(5, seed=1)
    plan = make_plan(
        model_dir, rows, heldout=heldout, training={"max_steps": 2, "learning_rate": 1e-12, "eval_every": 1}
    )
    done = run(plan, rows, tmp_path, heldout=heldout)
    evaluated = [e for e in done.events if isinstance(e, Evaluated)]
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    total, count = 0.0, 0
    for ids, mask in heldout:
        with torch.no_grad():
            log_probs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        for position in range(1, len(ids)):
            if mask[position]:
                total -= log_probs[position - 1, ids[position]].item()
                count += 1
    assert [e.num_tokens for e in evaluated] == [count, count]
    assert evaluated[0].loss == pytest.approx(total / count, abs=1e-5)


def test_evaluation_does_not_disturb_training(model_dir: Path, tmp_path: Path) -> None:
    rows, heldout = make_rows(10), make_rows(4, seed=1)
    changes = {"max_steps": 4, "logging_steps": 1, "eval_every": 1}
    plan = make_plan(model_dir, rows, heldout=heldout, training=changes, lora={"lora_dropout": 0.3})
    watched = run(plan, rows, tmp_path / "watched", heldout=heldout)
    alone = run(attrs.evolve(plan, evaluation=None), rows, tmp_path / "alone")
    assert watched.losses == alone.losses


def test_a_run_that_no_longer_improves_stops_early(model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(10)
    heldout = make_rows(4, seed=9)
    plan = make_plan(
        model_dir,
        rows,
        heldout=heldout,
        training={
            "max_steps": 60,
            "eval_every": 1,
            "early_stopping": 2,
            "learning_rate": 0.5,
            "lr_scheduler_type": Scheduler.CONSTANT,
        },
    )
    done = run(plan, rows, tmp_path, heldout=heldout)
    stopped = [e for e in done.events if isinstance(e, StoppedEarly)]
    assert len(stopped) == 1
    assert done.result.last_step == stopped[0].step == stopped[0].best_step + 2
    assert not done.result.interrupted
    assert (tmp_path / f"checkpoint-{stopped[0].best_step}").is_dir()


def test_a_stop_request_saves_the_step_and_ends_the_run(model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(10)
    plan = make_plan(model_dir, rows, training={"max_steps": 50, "logging_steps": 1})

    def interrupt(event: Event) -> None:
        if isinstance(event, Step) and event.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    done = run(plan, rows, tmp_path, on_event=interrupt)
    assert done.result.interrupted
    assert done.result.last_step in (3, 4)
    assert (tmp_path / f"checkpoint-{done.result.last_step}").is_dir()


def test_the_second_interrupt_stops_at_once() -> None:
    with stop_requests() as request:
        os.kill(os.getpid(), signal.SIGINT)
        assert request.is_set
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_loss_that_is_no_number_ends_the_run(model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(10)
    plan = make_plan(
        model_dir, rows, training={"max_steps": 60, "learning_rate": 1e12, "warmup_steps": 0, "max_grad_norm": 1e30}
    )
    with pytest.raises(BackpropError) as caught:
        run(plan, rows, tmp_path)
    assert caught.value.problems[0].code == "RUNTIME_TRAINING_DIVERGED"


def test_a_model_directory_without_weights_is_a_catalogued_error(model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(10)
    plan = make_plan(model_dir, rows)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_bytes((model_dir / "config.json").read_bytes())
    gone = attrs.evolve(plan, model=attrs.evolve(plan.model, directory=str(tmp_path / "empty")))
    with pytest.raises(BackpropError) as caught:
        run(gone, rows, tmp_path / "run")
    assert caught.value.problems[0].code == "DEP_MODEL_LOAD_FAILED"


def test_batches_follow_the_planned_order_across_epochs(model_dir: Path) -> None:
    rows = make_rows(5)
    plan = make_plan(model_dir, rows, data={"packing": False}, training={"max_steps": 3})
    batches = TrainingBatches(plan, ListRows(rows))
    order = [*epoch_order(5, seed=42, epoch=0, shuffle=True), *epoch_order(5, seed=42, epoch=1, shuffle=True)]
    order += epoch_order(5, seed=42, epoch=2, shuffle=True)
    seen = list(batches.loader)
    assert len(seen) == 6
    for number, batch in enumerate(seen):
        for place, index in enumerate(order[2 * number : 2 * number + 2]):
            ids, mask = rows[index]
            assert batch["input_ids"][place, : len(ids)].tolist() == ids
            labels = batch["labels"][place].tolist()
            assert labels[1 : len(ids)] == [t if m else IGNORED_LABEL for t, m in zip(ids, mask, strict=True)][1:]
            assert set(labels[len(ids) :]) <= {IGNORED_LABEL}
            assert batch["attention_mask"][place].sum() == len(ids)
    expected = sum(len(rows[i][0]) for i in order[4:8])
    assert batches.tokens_in_step(2) == expected


def test_masked_positions_skip_the_head(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_rows(10)
    scored: list[int] = []
    kernel = trl_utils._ChunkedLogProbFunction.apply

    def counting(hidden: torch.Tensor, *rest: Any) -> Any:
        scored.append(len(hidden))
        return kernel(hidden, *rest)

    monkeypatch.setattr(trl_utils._ChunkedLogProbFunction, "apply", counting)
    plan = make_plan(model_dir, rows)
    run(plan, rows, tmp_path)
    batches = list(TrainingBatches(plan, ListRows(rows)).loader)
    assert scored == [int((batch["labels"] != IGNORED_LABEL).sum()) for batch in batches]
