"""TRL's preference trainers for one step of a tiny model on the CPU, with what Triton's kernels allocate on a card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from trl import KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer, cpo_trainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer, orpo_trainer
from trl.kernels import chunked_logprob
from trl.trainer import utils

from backprop.plan.memory.objective import Objective
from backprop.plan.memory.training import MemoryMethod, TrainingShape
from tests.plan.memory.allocations import Allocations
from tests.tiny import make_tiny_model

ROWS = 4
LONG = "x" * 200
"""A response that is cut at the greatest length, whatever that is here."""
PAIRS = [{"prompt": "a", "chosen": f"{LONG}{row}", "rejected": f"{LONG}r{row}"} for row in range(ROWS)]
LABELLED = [{"prompt": "a", "completion": f"{LONG}{row}", "label": row % 2 == 0} for row in range(ROWS)]


class _LogProbKernel(torch.autograd.Function):
    """The tensors of ``trl.kernels.logprob_entropy`` without their values."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        log_probs = torch.zeros(logits.shape[:-1])
        entropy, log_z, expected = (torch.empty_like(log_probs) for _ in range(3))
        ctx.save_for_backward(logits, index, log_z, expected)
        del entropy
        return log_probs

    @staticmethod
    def backward(ctx: Any, *_grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits = ctx.saved_tensors[0]
        return torch.zeros_like(logits, memory_format=torch.contiguous_format), None


def stand_in_for_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what computes elsewhere than on a card, and computes otherwise there, by its allocations on a card."""
    for module in (orpo_trainer, cpo_trainer):
        monkeypatch.setattr(module, "selective_log_softmax", _LogProbKernel.apply)
    monkeypatch.setattr(utils, "_use_triton", lambda _device: True)
    monkeypatch.setattr(chunked_logprob, "_forward_tile", lambda *_, **__: None)
    monkeypatch.setattr(chunked_logprob, "_backward_tile", lambda tile, *_, **__: tile.zero_())
    monkeypatch.setattr(chunked_logprob, "_addmm_fp32", lambda *_: None)


@attrs.frozen
class TinyRun:
    """One step of a training, of a model of which ``config`` says the sizes."""

    training: TrainingShape
    config: LlamaConfig

    def measured(self, directory: Path) -> Allocations:
        """What the last micro-step allocates."""
        make_tiny_model(directory)
        tokenizer = AutoTokenizer.from_pretrained(directory)
        dtype = torch.float32 if self.training.fp32_weights else torch.bfloat16
        LlamaForCausalLM(self.config).to(dtype).save_pretrained(directory)
        model = LlamaForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="eager")
        trainer = self._trainer(model, tokenizer, directory)
        allocations = Allocations()
        step = trainer.training_step

        def measured_step(*args: Any, **kwargs: Any) -> torch.Tensor:
            with allocations.measured():
                loss: torch.Tensor = step(*args, **kwargs)
            return loss

        trainer.training_step = measured_step
        trainer.train()
        return allocations

    def _trainer(self, model: LlamaForCausalLM, tokenizer: Any, directory: Path) -> Any:
        training = self.training
        lora = LoraConfig(r=training.rank, target_modules="all-linear", task_type="CAUSAL_LM")
        given: dict[str, Any] = {
            "model": model,
            "processing_class": tokenizer,
            "peft_config": None if training.method is MemoryMethod.FULL else lora,
        }
        options = self._options(directory)
        match training.objective:
            case Objective.KTO:
                return KTOTrainer(args=KTOConfig(**options), train_dataset=Dataset.from_list(LABELLED), **given)
            case Objective.ORPO:
                return ORPOTrainer(args=ORPOConfig(**options), train_dataset=Dataset.from_list(PAIRS), **given)
            case _:
                simpo = CPOConfig(**options, loss_type="simpo", cpo_alpha=0.0)
                return CPOTrainer(args=simpo, train_dataset=Dataset.from_list(PAIRS), **given)

    def _options(self, directory: Path) -> dict[str, Any]:
        return {
            "output_dir": str(directory),
            "max_length": self.training.sequence,
            "per_device_train_batch_size": self.training.batch,
            "gradient_accumulation_steps": self.training.accumulation,
            "max_steps": 1,
            "bf16": self.training.autocast,
            "use_cpu": True,
            "gradient_checkpointing": self.training.checkpoints,
            "gradient_checkpointing_kwargs": {"use_reentrant": False},
            "optim": "adamw_torch",
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }
