"""The trainers of full fine-tuning: checkpoints hold every weight in the normal layout, offloaded or not."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from backprop.effects.train.rounded_adamw import RoundedAdamW, local
from backprop.effects.train.trainer import PlannedTrainer
from backprop.plan.training.arguments import own_optimizer_arguments
from backprop.plan.training.plan import TrainPlan


class FullTrainer(PlannedTrainer):
    """Trains every weight. The model comes with the weights of the checkpoint that is gone on from."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        self.model.save_pretrained(output_dir, state_dict=whole_state(self.model))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        """They are loaded already, as any model's are."""


class OffloadedTrainer(FullTrainer):
    """Trains weights that FSDP2 keeps in host memory; nothing but FSDP2 moves them."""

    def __init__(self, plan: TrainPlan, **rest: Any) -> None:
        super().__init__(plan, **rest)
        self.accelerator.device_placement = False

    def _move_model_to_device(self, model: torch.nn.Module, device: torch.device) -> None:
        """They stay where they are."""

    def _clip_grad_norm(self, model: torch.nn.Module) -> torch.Tensor:
        # One process holds every shard whole, so that no collective is needed, which on a card would be NCCL's.
        gradients = [local(p.grad) for p in model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        scale = torch.clamp(self.args.max_grad_norm / (norm + 1e-6), max=1.0)
        for gradient in gradients:
            gradient.mul_(scale)
        return norm


def whole_state(model: transformers.PreTrainedModel) -> dict[str, torch.Tensor]:
    """The model's state with each shard as the whole tensor that it is in a group of one."""
    state: dict[str, Any] = model.state_dict()
    return {name: local(tensor) for name, tensor in state.items()}


def own_optimizer(plan: TrainPlan) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
    """The optimizer that transformers has not, when the plan calls for it."""
    arguments = own_optimizer_arguments(plan)
    return None if arguments is None else (RoundedAdamW, arguments)
