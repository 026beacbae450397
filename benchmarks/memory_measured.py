"""Predicted memory beside what training really takes: the executor's own steps of small models on the CPU, measured.

Real weights, real rows, real libraries; nothing is simulated. Exits 1 when an error is larger than BOUND_PERCENT.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from tests.effects.train.runs import ListRows, Row, make_plan, run
from tests.tiny import make_tiny_model
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.trainer_callback import PrinterCallback

from backprop.effects.quiet import quiet_libraries
from backprop.effects.train.loading import add_adapter, load_base, load_tokenizer
from backprop.effects.train.sequences import TrainingBatches, heldout_batches
from backprop.effects.train.session import heldout_loss
from backprop.effects.train.targets_alone import targets_alone
from backprop.effects.train.trainer import PlannedTrainer
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.memory.training import ALL_LINEAR, MemoryMethod, MemoryOptimizer
from backprop.plan.settings.model import Dtype
from backprop.plan.settings.training import Optimizer, TrainMode
from backprop.plan.training.plan import TrainPlan
from benchmarks.memory_cases import CASES, Case
from benchmarks.storage_tracker import Measured, measure

BOUND_PERCENT = 0.5
NUM_STEPS = 2
"""The second step is the first that finds the optimizer's state."""


@attrs.frozen
class Comparison:
    """A case, its prediction, and what was measured."""

    name: str
    predicted: MemoryPlan
    measured: Measured

    @property
    def error_percent(self) -> float:
        """Positive when too much is predicted."""
        return 100 * (self.predicted.peak_bytes / self.measured.peak_bytes - 1)


def training_steps(case: Case, directory: Path) -> Comparison:
    """``NUM_STEPS`` steps of the executor, from loading the model to its last checkpoint."""
    plan, rows = _planned(case, directory)
    measured = measure(lambda: run(plan, rows, directory / "run"))
    return Comparison(case.name, case.predicted, measured)


def evaluation(case: Case, directory: Path) -> Comparison:
    """The held-out loss over the rows of ``case``, after the executor's trainer has trained on them."""
    plan, rows = _planned(case, directory)
    with quiet_libraries(), targets_alone():
        trainer = _trainer(plan, rows, directory)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        heldout = heldout_batches(plan, ListRows(rows))
        measured = measure(lambda: heldout_loss(trainer, heldout), alive=_tensors_of(trainer))
    return Comparison(f"{case.name}, evaluated", case.predicted_evaluation, measured)


def _planned(case: Case, directory: Path) -> tuple[TrainPlan, list[Row]]:
    model_dir, rows = _write_model(case.config, directory / "model"), _rows(case)
    shape = case.shape
    is_full = shape.method is MemoryMethod.FULL
    is_foreach = shape.optimizer is MemoryOptimizer.ADAMW_FOREACH
    training = {
        "mode": TrainMode.FULL if is_full else TrainMode.LORA,
        "max_steps": NUM_STEPS,
        "per_device_train_batch_size": shape.batch,
        "gradient_accumulation_steps": shape.accumulation,
        "optim": Optimizer.ADAMW_TORCH if is_foreach else Optimizer.ADAMW_TORCH_FUSED,
    }
    lora: dict[str, Any] = {"use_gradient_checkpointing": shape.checkpoints}
    if not is_full:
        lora |= {"r": shape.rank, "target_modules": None if ALL_LINEAR in shape.targets else shape.targets}
    plan = make_plan(
        model_dir,
        rows,
        data={"packing": shape.packed},
        model={"max_seq_length": shape.sequence, "dtype": Dtype.FLOAT32 if shape.fp32_weights else Dtype.BFLOAT16},
        lora=lora,
        training=training,
    )
    return plan, rows


def _write_model(config: Mapping[str, Any], directory: Path) -> Path:
    make_tiny_model(directory)  # for its tokenizer
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    with quiet_libraries():
        model.save_pretrained(directory)
    return directory


def _rows(case: Case) -> list[Row]:
    generator = random.Random(0)
    rows = []
    for length in case.lengths:
        num_learned = round(case.learned * length)
        mask = [0] * (length - num_learned) + [1] * num_learned
        rows.append(([generator.randrange(3, 259) for _ in range(length)], mask))
    return rows


def _trainer(plan: TrainPlan, rows: list[Row], directory: Path) -> PlannedTrainer:
    assert plan.model.directory is not None
    base = load_base(plan, plan.model.directory)
    return PlannedTrainer(
        plan,
        model=base if plan.adapter is None else add_adapter(plan.adapter, base, base=plan.model),
        tokenizer=load_tokenizer(plan.model.directory, trust_remote_code=False),
        batches=TrainingBatches(plan, ListRows(rows)),
        callbacks=[],
        staging_dir=directory / "staging",
        commit_checkpoint=lambda *_: None,
    )


def _tensors_of(trainer: PlannedTrainer) -> Iterator[torch.Tensor]:
    """Weights, buffers, what is left of the gradients, and the optimizer's state."""
    for parameter in trainer.model.parameters():
        yield parameter
        if parameter.grad is not None:
            yield parameter.grad
    yield from trainer.model.buffers()
    for state in trainer.optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, torch.Tensor))


def main() -> int:
    """Print the table; 1 when an error is out of bounds."""
    errors = []
    print(f"{'measured on the CPU':58s} {'predicted':>12s} {'measured':>12s} {'error':>9s}  moment")
    for compare in (training_steps, evaluation):
        for case in CASES:
            with tempfile.TemporaryDirectory() as directory:
                row = compare(case, Path(directory))
            print(
                f"{row.name:58s} {row.predicted.peak_bytes / 1e6:9.3f} MB {row.measured.peak_bytes / 1e6:9.3f} MB "
                f"{row.error_percent:+8.4f}%  {row.predicted.moment}"
            )
            errors.append(abs(row.error_percent))
    print(f"largest error: {max(errors):.4f} % of {len(errors)}")
    return int(max(errors) > BOUND_PERCENT)


if __name__ == "__main__":
    sys.exit(main())
