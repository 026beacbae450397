"""TRL's SFTTrainer on planned batches, with checkpoints that are complete or absent."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset as TableDataset
from peft import PeftModel
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, Trainer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from backprop.effects.train.delta_adapter import load_trained, save_delta
from backprop.effects.train.first_weights import FirstWeights
from backprop.effects.train.sequences import Tensors, TrainingBatches
from backprop.effects.train.task import CommitCheckpoint
from backprop.effects.train.translation import translated
from backprop.plan.training.arguments import sft_arguments
from backprop.plan.training.plan import TrainPlan


class PlannedTrainer(SFTTrainer):  # type: ignore[misc]
    """Trains on ``batches`` in their order; the data cursor of a checkpoint is its step times the accumulation."""

    _total_train_tokens: int
    is_sharded = False
    """Each process holds a part of the weights, so that all of them pass every batch through the model together."""

    def __init__(
        self,
        plan: TrainPlan,
        *,
        model: PeftModel | PreTrainedModel,
        tokenizer: Any,
        batches: TrainingBatches,
        callbacks: list[TrainerCallback],
        staging_dir: Path,
        commit_checkpoint: CommitCheckpoint,
        own_optimizer: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None = None,
        first_weights: FirstWeights | None = None,
        run_name: str | None = None,
    ) -> None:
        self._adapter = plan.adapter
        self._first_weights = first_weights
        self._batches = batches
        self._staging_dir = staging_dir
        self._commit_checkpoint = commit_checkpoint
        super().__init__(
            model=model,
            args=_on_one_card(SFTConfig(**sft_arguments(plan, staging_dir=str(staging_dir), run_name=run_name))),
            # TRL looks at one row to tell text from images; what is trained on comes from get_train_dataloader.
            train_dataset=TableDataset.from_dict({"input_ids": [[0]], "labels": [[0]]}),
            data_collator=batches.collator,
            processing_class=tokenizer,
            callbacks=callbacks,
            optimizer_cls_and_kwargs=own_optimizer,
        )
        # Checkpoints hold what changes; the tokenizer's files are copied unchanged when the run ends.
        self.processing_class = None
        if plan.adapter is not None and plan.precision.scales_loss:
            _hold_in_float32(self.model)

    def get_train_dataloader(self) -> DataLoader[Tensors]:
        return self._batches.loader

    def save_now(self) -> None:
        """Commit a checkpoint of the weights, the optimizer and the random states as they are."""
        self._save_checkpoint(self.model, trial=None)

    def rehearse(self, batch: Tensors) -> None:
        """Forward and backward over ``batch`` as in a step, without a trace: no gradient, no random number drawn.

        Twice when gradients are accumulated: the second pass is the first that has the gradients of another in memory.
        """
        tokens = self._total_train_tokens
        devices = [torch.cuda.current_device()] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            for _ in range(min(2, self.args.gradient_accumulation_steps)):
                self.training_step(self.model_wrapped, batch, self._get_num_items_in_batch([batch], self.args.device))
        self.model.zero_grad(set_to_none=True)
        # What TRL counts and averages for its own log.
        self._metrics["train"].clear()
        self._total_train_tokens = tokens

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        if not self.args.should_save:
            return
        if self._adapter is None or self._first_weights is None:
            self.model.save_pretrained(output_dir, save_embedding_layers=False)
        else:
            assert output_dir is not None
            save_delta(self._adapter, self.model, self._first_weights, Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        if self._adapter is None or self._first_weights is None:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            load_trained(self.model, Path(resume_from_checkpoint), self._adapter.rank.value)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        # TRL would write a model card into every checkpoint; the base class writes just the state.
        step = self.state.global_step
        try:
            with translated(
                "RUNTIME_TRAINING_FAILED",
                f"The checkpoint of step {step} cannot be written",
                where=str(self._staging_dir),
            ):
                Trainer._save_checkpoint(self, model, trial)
                self._commit_checkpoint(self._staging_dir / f"checkpoint-{step}", step)
        finally:
            if self.args.should_save:
                shutil.rmtree(self._staging_dir, ignore_errors=True)


def _hold_in_float32(model: torch.nn.Module) -> None:
    # TRL has made adapters over 4-bit weights bfloat16, whose gradients a loss scaler cannot unscale.
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _on_one_card(arguments: SFTConfig) -> SFTConfig:
    """The plan is for one card; transformers would spread each batch over all that it sees."""
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments
