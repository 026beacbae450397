"""The trainers of full fine-tuning: checkpoints hold every weight in the normal layout, offloaded or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import transformers

from backprop.effects.train.rounded_adamw import RoundedAdamW, local
from backprop.effects.train.trainer import PlannedTrainer
from backprop.plan.training.arguments import own_optimizer_arguments
from backprop.plan.training.plan import TrainPlan


class FullTrainer(PlannedTrainer):
    """Trains every weight. The model comes with the weights of the checkpoint that is gone on from."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        state = whole_state(self.model)
        if self.args.should_save:
            self.model.save_pretrained(output_dir, state_dict=state)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        """They are loaded already, as any model's are."""


class OffloadedTrainer(FullTrainer):
    """Trains weights that FSDP2 keeps in host memory; nothing but FSDP2 moves them."""

    is_sharded = True

    def __init__(self, plan: TrainPlan, **rest: Any) -> None:
        super().__init__(plan, **rest)
        self.accelerator.device_placement = False
        # FSDP2 has made it ready for several processes; accelerate would have each average whole gradients besides.
        self.model._is_accelerate_prepared = True

    def _move_model_to_device(self, model: torch.nn.Module, device: torch.device) -> None:
        """They stay where they are."""

    def _clip_grad_norm(self, model: torch.nn.Module) -> torch.Tensor:
        # A bound on the norm is one on the gradients as they are, not as a loss scaler has made them.
        self.accelerator.unscale_gradients()
        # The shards lie in host memory, where a card's NCCL cannot reach; one process holds each of them whole.
        gradients = [local(p.grad) for p in model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.args.world_size > 1:
            squares = norm.square()
            dist.all_reduce(squares)
            norm = squares.sqrt()
        scale = torch.clamp(self.args.max_grad_norm / (norm + 1e-6), max=1.0)
        for gradient in gradients:
            gradient.mul_(scale)
        return norm

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        # Each process has the states of its shards; the library writes those of the first.
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.process_index > 0:
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            torch.save(self.optimizer.state_dict(), self._own_states(output_dir))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self.args.process_index > 0:
            self.optimizer.load_state_dict(torch.load(self._own_states(checkpoint), weights_only=True))

    def _own_states(self, directory: str) -> Path:
        return Path(directory) / f"optimizer-{self.args.process_index}.pt"


def whole_state(model: transformers.PreTrainedModel) -> dict[str, torch.Tensor]:
    """The model's state with each sharded tensor whole: the only shard in a group of one, gathered in a larger one."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return {name: local(tensor) for name, tensor in model.state_dict().items()}
    # Tied weights are one parameter under two names, and are to be one tensor.
    state: dict[str, Any] = model.state_dict(keep_vars=True)
    whole = {id(tensor): _gathered(tensor.detach()) for tensor in state.values()}
    return {name: whole[id(tensor)] for name, tensor in state.items()}


def _gathered(tensor: Any) -> torch.Tensor:
    gathered: torch.Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return gathered


def own_optimizer(plan: TrainPlan) -> tuple[type[torch.optim.Optimizer], dict[str, Any]] | None:
    """The optimizer that transformers has not, when the plan calls for it."""
    arguments = own_optimizer_arguments(plan)
    return None if arguments is None else (RoundedAdamW, arguments)
