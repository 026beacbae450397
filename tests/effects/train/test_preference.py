"""ORPO, SimPO and KTO: a step against the papers' formulas in plain torch whatever the micro-batch, and whole runs."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from peft import PeftModel

from backprop.effects.train import session
from backprop.effects.train.loading import add_adapter, load_base
from backprop.effects.train.preference_trainer import PreferenceTrainer
from backprop.plan.data.order import epoch_order
from backprop.plan.events import Evaluated, Step
from backprop.plan.memory.objective import Objective
from backprop.plan.training.plan import TrainPlan
from tests.effects.train.runs import Row, Trained, make_plan, run

METHODS = (Objective.ORPO, Objective.SIMPO, Objective.KTO)
GOOD = [False, True, True, False, True, True, False, True]
"""Ratings of eight answers."""
RATE = {"learning_rate": 4e-6, "warmup_steps": 0}


def make_pairs(count: int, *, seed: int = 0) -> list[Row]:
    """Chosen and rejected answers of different lengths, one after the other, each pair with a prompt of its own."""
    generator = random.Random(seed)
    rows: list[Row] = []
    for _ in range(count):
        prompt = [generator.randrange(3, 259) for _ in range(generator.randint(2, 12))]
        for _ in range(2):
            answer = [generator.randrange(3, 259) for _ in range(generator.randint(2, 14))]
            rows.append((prompt + answer, [0] * len(prompt) + [1] * len(answer)))
    return rows


def rows_for(method: Objective) -> list[Row]:
    """Eight rows of the method."""
    return make_pairs(8 if method.is_paired else 4)


def plan_of(model_dir: Path, method: Objective, *, micro_batch: int = 8, **changes: Any) -> TrainPlan:
    training = {
        "method": method,
        "max_steps": 1,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": 8 // micro_batch,
        "logging_steps": 1,
        "max_grad_norm": 1e9,
        **RATE,
        **changes.pop("training", {}),
    }
    plan = make_plan(model_dir, rows_for(method), training=training, **changes)
    if plan.batch.micro_batch.value != micro_batch:  # KTO is planned with two at least, and may be left with one
        batch = attrs.evolve(
            plan.batch,
            micro_batch=attrs.evolve(plan.batch.micro_batch, value=micro_batch),
            accumulation=attrs.evolve(plan.batch.accumulation, value=8 // micro_batch),
            effective=8,
        )
        plan = attrs.evolve(plan, batch=batch)
    return plan


def adapted(plan: TrainPlan, *, moved: bool) -> PeftModel:
    """The model as it begins; ``moved`` has adapters that change its answers."""
    assert plan.adapter is not None
    assert plan.model.directory is not None
    model = add_adapter(plan.adapter, load_base(plan, plan.model.directory), base=plan.model)
    if moved:
        torch.manual_seed(10)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    return model


@attrs.define
class Stepped:
    loss: float
    gradients: dict[str, torch.Tensor]
    run: Trained


@pytest.fixture
def stepped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[TrainPlan], Stepped]:
    """One step of a run that begins with moved adapters: its loss and the gradients that the optimizer is given."""

    def step(plan: TrainPlan) -> Stepped:
        gradients: dict[str, torch.Tensor] = {}

        class Watched(PreferenceTrainer):
            def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
                for name, parameter in model.named_parameters():
                    if parameter.grad is not None:
                        gradients[name] = parameter.grad.clone()
                return super()._clip_grad_norm(model)

        monkeypatch.setattr(session, "PreferenceTrainer", Watched)
        monkeypatch.setattr(session, "_load", lambda plan, *_, **__: (adapted(plan, moved=True), None))
        method = plan.objective.method.value
        good = GOOD if method is Objective.KTO else None
        done = run(plan, rows_for(method), tmp_path / f"run-{plan.batch.micro_batch.value}", good=good)
        return Stepped(done.losses[0], gradients, done)

    return step


def answer_log_probs(model: torch.nn.Module, row: Row) -> torch.Tensor:
    """The log-probability of each learned token of one row, without batches or padding."""
    ids, mask = row
    logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    log_probs = logits.log_softmax(-1)
    return torch.stack([log_probs[at - 1, ids[at]] for at in range(1, len(ids)) if mask[at]])


def expected_loss(plan: TrainPlan, model: PeftModel, rows: list[Row]) -> torch.Tensor:
    """The papers' losses, row by row."""
    method = plan.objective.method.value
    order = list(epoch_order(8, seed=plan.seed, epoch=0, shuffle=True))
    if method is Objective.KTO:
        return expected_kto(plan, model, [rows[i] for i in order], [GOOD[i] for i in order])
    losses = []
    for i in order:
        chosen, rejected = (answer_log_probs(model, rows[2 * i + side]).mean() for side in (0, 1))
        if method is Objective.SIMPO:
            losses.append(-torch.log(1 / (1 + torch.exp(-(2.0 * chosen - 2.0 * rejected - 1.0)))))
        else:
            odds = [torch.exp(p) / (1 - torch.exp(p)) for p in (chosen, rejected)]
            losses.append(-chosen - 0.1 * torch.log(torch.sigmoid(torch.log(odds[0] / odds[1]))))
    return torch.stack(losses).mean()


def expected_kto(plan: TrainPlan, model: PeftModel, rows: list[Row], good: list[bool]) -> torch.Tensor:
    assert plan.objective.desirable_weight is not None
    assert plan.objective.undesirable_weight is not None
    weights = {True: plan.objective.desirable_weight.value, False: plan.objective.undesirable_weight.value}

    def log_ratio(row: Row) -> torch.Tensor:
        with torch.no_grad(), model.disable_adapter():
            reference = answer_log_probs(model, row).sum()
        return answer_log_probs(model, row).sum() - reference

    def with_answer_of(row: Row, other: Row) -> Row:
        prompt, start = row[1].index(1), other[1].index(1)
        ids = [*row[0][:prompt], *other[0][start:]]
        longest = max(length for length, _ in plan.data.train.tokens.length_counts)  # type: ignore[union-attr]
        return ids[:longest], ([0] * prompt + [1] * (len(ids) - prompt))[:longest]

    with torch.no_grad():
        mismatched = [with_answer_of(row, rows[place - 1]) for place, row in enumerate(rows)]
        divergence = max(0.0, sum(log_ratio(row).item() for row in mismatched) / len(rows))
    assert divergence > 0.01, "there is one to take into account"
    losses = [
        weights[is_good] * (1 - torch.sigmoid(0.1 * (log_ratio(row) - divergence) * (1 if is_good else -1)))
        for row, is_good in zip(rows, good, strict=True)
    ]
    return torch.stack(losses).mean()


@pytest.mark.parametrize("micro_batch", [8, 4, 2, 1])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_is_that_of_the_paper_whatever_goes_through_the_model_at_once(
    method: Objective, micro_batch: int, model_dir: Path, stepped: Callable[[TrainPlan], Stepped]
) -> None:
    plan = plan_of(model_dir, method, micro_batch=micro_batch)
    found = stepped(plan)
    model = adapted(plan, moved=True)
    expected = expected_loss(plan, model, rows_for(method))
    torch.autograd.backward(expected)
    assert found.loss == pytest.approx(expected.item(), abs=1e-5)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert gradients.keys() == found.gradients.keys()
    assert max(float(g.abs().max()) for g in gradients.values()) > 1e-3, "there is something to compare"
    for name, gradient in gradients.items():
        torch.testing.assert_close(found.gradients[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_the_update_moves_the_adapter_alone(method: Objective, model_dir: Path, tmp_path: Path) -> None:
    plan = plan_of(model_dir, method)
    good = GOOD if method is Objective.KTO else None
    done = run(plan, rows_for(method), tmp_path, good=good)
    assert all("lora_" in name for name in done.weights(1))
    assert any(bool(tensor.abs().sum()) for name, tensor in done.weights(1).items() if "lora_B" in name)


def test_the_reference_of_kto_is_the_untouched_base(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    asked: list[tuple[dict[str, torch.Tensor], torch.Tensor]] = []
    refer = PreferenceTrainer._refer

    def watched(self: PreferenceTrainer, inputs: dict[str, torch.Tensor]) -> Any:
        found = refer(self, inputs)
        asked.append((dict(inputs), found.sums.clone()))
        return found

    monkeypatch.setattr(PreferenceTrainer, "_refer", watched)
    monkeypatch.setattr(session, "_load", lambda plan, *_, **__: (adapted(plan, moved=True), None))
    plan = plan_of(model_dir, Objective.KTO, training={"max_steps": 3}, lora={"lora_dropout": 0.5})
    run(plan, rows_for(Objective.KTO), tmp_path, good=GOOD)
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    assert len(asked) == 6, "one for the loss and one for the divergence of each step"
    for inputs, sums in asked:
        for place, length in enumerate(inputs["attention_mask"].sum(1).tolist()):
            ids, labels = (inputs[key][place, :length].tolist() for key in ("input_ids", "labels"))
            with torch.no_grad():
                expected = answer_log_probs(base, (ids, [int(label >= 0) for label in labels])).sum()
            assert sums[place].item() == pytest.approx(expected.item(), abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_ends_bit_identical_to_an_uninterrupted_one(
    method: Objective, model_dir: Path, tmp_path: Path
) -> None:
    changes = {"max_steps": 6, "save_steps": 2}
    plan = plan_of(model_dir, method, micro_batch=2, training=changes, lora={"lora_dropout": 0.3})
    rows, good = rows_for(method), GOOD if method is Objective.KTO else None
    whole = run(plan, rows, tmp_path / "whole", good=good)
    resumed = run(plan, rows, tmp_path / "resumed", good=good, resume_from=tmp_path / "whole" / "checkpoint-2")
    assert whole.losses[2:] == resumed.losses
    rewards = [[e.rewards for e in done.events if isinstance(e, Step)] for done in (whole, resumed)]
    assert rewards[0][2:] == rewards[1]
    for name, tensor in whole.weights(6).items():
        assert torch.equal(tensor, resumed.weights(6)[name]), name


@pytest.mark.parametrize("method", METHODS)
def test_the_margin_grows_where_it_is_trained_and_every_step_tells_it(
    method: Objective, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_load", lambda plan, *_, **__: (adapted(plan, moved=False), None))
    plan = plan_of(model_dir, method, training={"max_steps": 30})
    fast = attrs.evolve(plan.learning_rate, peak=attrs.evolve(plan.learning_rate.peak, value=1e-2))
    good = GOOD if method is Objective.KTO else None
    done = run(attrs.evolve(plan, learning_rate=fast), rows_for(method), tmp_path, good=good)
    steps = [e for e in done.events if isinstance(e, Step)]
    rewards = [step.rewards for step in steps if step.rewards is not None]
    assert len(rewards) == 30
    first, last = rewards[0], rewards[-1]
    assert last.margin is not None
    assert first.margin is not None
    assert last.margin > first.margin
    assert last.margin == pytest.approx((last.chosen or 0) - (last.rejected or 0))
    assert last.accuracy > 0.85
    assert steps[-1].loss < steps[0].loss


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1, 3])
def test_the_heldout_loss_does_not_depend_on_how_many_rows_are_measured_at_once(
    method: Objective, size: int, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_load", lambda plan, *_, **__: (adapted(plan, moved=True), None))
    rows, heldout = rows_for(method), rows_for(method)
    good = GOOD if method is Objective.KTO else None
    found = []
    for batch in (8, size):
        base = plan_of(model_dir, method, training={"learning_rate": 1e-20})
        evaluated = make_plan(
            model_dir, rows, heldout=heldout, training={"method": method, "max_steps": 1, "eval_every": 1}
        ).evaluation
        sized = attrs.evolve(base.batch, micro_batch=attrs.evolve(base.batch.micro_batch, value=batch))
        sized = attrs.evolve(sized, accumulation=attrs.evolve(sized.accumulation, value=math.ceil(8 / batch)))
        plan = attrs.evolve(base, evaluation=evaluated, batch=sized)
        done = run(plan, rows, tmp_path / str(batch), heldout=heldout, good=good, heldout_good=good)
        found += [e for e in done.events if isinstance(e, Evaluated)]
    whole, parts = found
    assert whole.loss == pytest.approx(parts.loss, abs=1e-6)
    assert whole.num_tokens == parts.num_tokens == sum(sum(mask) for _, mask in heldout)
    assert whole.rewards is not None
    assert parts.rewards is not None
    assert whole.rewards.margin == pytest.approx(parts.rewards.margin, abs=1e-6)
    assert whole.rewards.accuracy == parts.rewards.accuracy


@pytest.mark.parametrize("method", METHODS)
def test_evaluation_does_not_disturb_training(method: Objective, model_dir: Path, tmp_path: Path) -> None:
    rows, good = rows_for(method), GOOD if method is Objective.KTO else None
    plan = plan_of(model_dir, method, micro_batch=4, training={"max_steps": 3}, lora={"lora_dropout": 0.3})
    evaluated = make_plan(
        model_dir, rows, heldout=rows, training={"method": method, "max_steps": 3, "eval_every": 1}
    ).evaluation
    watched = run(
        attrs.evolve(plan, evaluation=evaluated), rows, tmp_path / "one", heldout=rows, good=good, heldout_good=good
    )
    alone = run(plan, rows, tmp_path / "two", good=good)
    assert watched.losses == alone.losses


def test_the_log_of_the_complement_is_exact_at_both_ends() -> None:
    from backprop.effects.train.preference_loss import _log_complement

    x = torch.tensor([-1e-6, -0.1, -0.693, -0.694, -5.0, -80.0, 0.0], dtype=torch.float32, requires_grad=True)
    found = _log_complement(x)
    expected = [math.log(-math.expm1(v)) for v in (-1e-6, -0.1, -0.693, -0.694, -5.0)]
    assert found[:5].tolist() == pytest.approx(expected, rel=1e-5)
    assert torch.isfinite(found).all()
    torch.autograd.backward(found.sum())
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
