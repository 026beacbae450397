"""What runs is what TRL would run: the same losses, the same adapter, packed or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from trl.trainer import utils as trl_utils

from backprop.effects.train.sequences import IGNORED_LABEL, PlannedOrder, TrainingBatches
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import Optimizer, TrainingSettings
from backprop.plan.training.batch import plan_update
from backprop.plan.training.plan import TrainPlan
from backprop.workflows.observation import observed
from tests.effects.probe.smollm2 import MODEL
from tests.effects.train.runs import ListRows, make_plan, make_rows, plain_trl_losses, run
from tests.plan.training.worlds import CPU_MACHINE, planned, settings


def in_one_pass(plan: TrainPlan) -> TrainPlan:
    """One step over all sequences, so that packed and unpacked see the same rows whatever their order."""
    micro = attrs.evolve(plan.batch.micro_batch, value=plan.length.sequences)
    one = attrs.evolve(plan.batch.accumulation, value=1)
    batch = attrs.evolve(plan.batch, micro_batch=micro, accumulation=one, effective=plan.length.sequences)
    return attrs.evolve(plan, batch=batch)


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


def test_an_update_in_passes_of_unequal_size_is_that_of_one_pass(model_dir: Path, tmp_path: Path) -> None:
    rows = make_rows(10, longest=20)
    changes = {"max_steps": 2, "learning_rate": 1e-2, "per_device_train_batch_size": 5}
    plan = make_plan(model_dir, rows, data={"packing": False}, training=changes | {"gradient_accumulation_steps": 1})
    update = plan_update(
        attrs.evolve(TrainingSettings(), per_device_train_batch_size=5, gradient_accumulation_steps=1),
        rail=plan.rail.value,
        hardware=CPU_MACHINE,
        objective=Objective.SFT,
        origins=Origins(),
    )
    size, passes = update.lowered(2)
    in_threes = attrs.evolve(plan, batch=attrs.evolve(plan.batch, micro_batch=size, accumulation=passes))
    assert [len(batch) for batch in PlannedOrder(in_threes, len(rows))] == [2, 2, 1, 2, 2, 1]
    one, three = run(plan, rows, tmp_path / "one"), run(in_threes, rows, tmp_path / "three")
    assert three.losses == pytest.approx(one.losses, abs=1e-5)
    for name, tensor in one.weights(2).items():
        torch.testing.assert_close(three.weights(2)[name], tensor, rtol=0, atol=1e-5)


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


@pytest.mark.slow
def test_on_a_real_model_and_real_data_losses_and_adapter_equal_a_plain_trl_script(tmp_path: Path) -> None:
    asked = settings(
        model={"name": str(MODEL)},
        data={"dataset_name": "examples/lighthouse.jsonl", "packing": False, "max_samples": 16},
        training={
            "max_steps": 3,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 1,
            "logging_steps": 1,
            "bf16": False,
            "output_dir": str(tmp_path),
        },
        lora={"r": 8, "lora_dropout": 0.0},
    )
    with observed(asked, origins=Origins(), keep_rows=True, emit=lambda _: None) as seen:
        plan = planned(asked, attrs.evolve(seen.facts, hardware=CPU_MACHINE))
        assert seen.rows is not None
        stored = [seen.rows.train.row(i) for i in range(len(seen.rows.train))]
        rows = [(list(ids), list(mask)) for ids, mask in stored]
    ours = run(plan, rows, tmp_path / "ours")
    losses, weights = plain_trl_losses(plan, rows, tmp_path / "plain")
    assert ours.losses == pytest.approx(losses, abs=1e-5)
    for name, tensor in ours.weights(3).items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=1e-5)
