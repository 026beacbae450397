"""One update of the preference trainer with a tiny model on the CPU, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from backprop.effects.train import trainer as trainers
from backprop.effects.train.loading import add_adapter
from backprop.effects.train.preference_trainer import PreferenceTrainer
from backprop.effects.train.sequences import TrainingBatches
from backprop.plan.memory.training import TrainingShape
from backprop.plan.training.arguments import sft_arguments
from backprop.plan.training.plan import TrainPlan
from tests.effects.train.runs import ListRows, Row, make_plan
from tests.plan.memory.allocations import Allocations
from tests.tiny import make_tiny_model


@attrs.frozen
class TinyRun:
    """One update of a training, of a model of which ``config`` says the sizes; all but first tokens are learned."""

    training: TrainingShape
    config: LlamaConfig

    def measured(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Allocations, Allocations]:
        """What the last pass allocates, and what the passes before it do that have no gradients."""
        monkeypatch.setattr(
            trainers, "sft_arguments", lambda plan, **places: {**sft_arguments(plan, **places), **self._on_a_card()}
        )
        trainer = self._trainer(directory)
        step, before = Allocations(), Allocations()
        training_step, count = trainer.training_step, trainer._get_num_items_in_batch

        def measured_step(*args: Any, **kwargs: Any) -> torch.Tensor:
            with step.measured():
                loss: torch.Tensor = training_step(*args, **kwargs)
            return loss

        def measured_count(*args: Any) -> int:
            with before.measured():
                return count(*args)

        monkeypatch.setattr(trainer, "training_step", measured_step)
        monkeypatch.setattr(trainer, "_get_num_items_in_batch", measured_count)
        trainer.train()
        return step, before

    def _on_a_card(self) -> dict[str, Any]:
        return {"bf16": self.training.autocast, "save_strategy": "no"}

    def _rows(self) -> list[Row]:
        training = self.training
        length, count = training.sequence, training.sequences * training.accumulation
        return [([3 + row] * length, [0] + [1] * (length - 1)) for row in range(count)]

    def _plan(self, directory: Path, rows: list[Row]) -> TrainPlan:
        training = self.training
        return make_plan(
            directory,
            rows,
            training={
                "method": training.objective,
                "max_steps": 1,
                "per_device_train_batch_size": training.batch,
                "gradient_accumulation_steps": training.accumulation,
            },
            lora={"r": training.rank, "use_gradient_checkpointing": training.checkpoints},
        )

    def _trainer(self, directory: Path) -> PreferenceTrainer:
        make_tiny_model(directory)
        tokenizer = AutoTokenizer.from_pretrained(directory)
        dtype = torch.float32 if self.training.fp32_weights else torch.bfloat16
        LlamaForCausalLM(self.config).to(dtype).save_pretrained(directory)
        model = LlamaForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="eager")
        rows = self._rows()
        plan = self._plan(directory, rows)
        assert plan.adapter is not None
        return PreferenceTrainer(
            plan,
            model=add_adapter(plan.adapter, model, base=plan.model),
            tokenizer=tokenizer,
            batches=TrainingBatches(plan, ListRows(rows, [row % 2 == 0 for row in range(len(rows))])),
            callbacks=[],
            staging_dir=directory / "staging",
            commit_checkpoint=lambda staged, _step: staged,
        )
