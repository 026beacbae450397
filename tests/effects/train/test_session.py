"""The executor does what the plan says: against a plain TRL script, packed against unpacked, resumed against whole."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from trl import SFTConfig

from backprop.effects.train import trainer
from backprop.effects.train.interrupts import stop_requests
from backprop.effects.train.sequences import IGNORED_LABEL, TrainingBatches
from backprop.plan.data.order import epoch_order
from backprop.plan.errors import BackpropError
from backprop.plan.events import Evaluated, Event, Step, StoppedEarly
from backprop.plan.settings.training import Scheduler
from backprop.plan.training.arguments import sft_arguments
from tests.effects.train.runs import ListRows, make_plan, make_rows, run


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


def test_a_longer_plan_saves_at_its_own_interval_and_at_its_end(model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(10)
    run(make_plan(model_dir, rows, training={"max_steps": 2, "save_steps": 1}), rows, tmp_path)
    longer = make_plan(model_dir, rows, training={"max_steps": 7, "save_steps": 3})
    done = run(longer, rows, tmp_path / "longer", resume_from=tmp_path / "checkpoint-2")
    assert sorted(path.name for path in done.directory.glob("checkpoint-*")) == [f"checkpoint-{n}" for n in (3, 6, 7)]


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


def test_a_gradient_that_is_no_number_ends_the_run_before_its_weights_are_saved(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(10)
    plan = make_plan(model_dir, rows, training={"max_steps": 4, "save_steps": 1})
    real = trainer.PlannedTrainer.training_step

    def training_step(self: trainer.PlannedTrainer, *arguments: Any) -> Any:
        loss = real(self, *arguments)
        if self.state.global_step == 3:
            next(p for p in self.model.parameters() if p.grad is not None).grad.fill_(math.nan)
        return loss

    monkeypatch.setattr(trainer.PlannedTrainer, "training_step", training_step)
    with pytest.raises(BackpropError) as caught:
        run(plan, rows, tmp_path)
    (problem,) = caught.value.problems
    assert (problem.code, problem.message) == ("RUNTIME_TRAINING_DIVERGED", "The gradient norm of step 4 is nan.")
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [f"checkpoint-{n}" for n in (1, 2, 3)]


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


def test_a_plan_for_one_card_is_not_spread_over_all_that_transformers_sees(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(4)
    plan = make_plan(model_dir, rows)
    monkeypatch.setattr(SFTConfig, "_setup_devices", torch.device("cpu"))
    monkeypatch.setattr(SFTConfig, "_n_gpu", 4, raising=False)
    arguments = trainer._on_one_card(SFTConfig(**sft_arguments(plan, staging_dir=str(tmp_path))))
    assert arguments.n_gpu == 1
