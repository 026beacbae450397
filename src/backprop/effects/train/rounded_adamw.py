"""AdamW whose results are rounded stochastically into bfloat16 weights and states, a slice at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from backprop.plan.memory.optimizer_state import ROUNDED_SLICE

LOW_BITS = 16
"""float32 has so many bits more than bfloat16, all at the end of the significand."""


class RoundedAdamW(torch.optim.Optimizer):
    """AdamW, arXiv:1711.05101, computed in float32 whatever the weights and states are held in.

    A state has its weight's format. Rounding to the nearest bfloat16 would lose a weight's update below 1/512 of it,
    and would never let the second moment, which loses a thousandth a step, decay. Stochastic rounding is right in the
    mean, arXiv:2010.06192. float32 weights are updated as by ``torch.optim.AdamW``. The random bits come from torch's
    generator of the weights' device, which a checkpoint keeps. Sharded weights are updated where their shard lies.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient; a closure is not called."""
        assert closure is None, "the gradients are there already"
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self._update(param, group)

    def _update(self, param: torch.Tensor, group: dict[str, Any]) -> None:
        weight, gradient = local(param), local(param.grad)
        state = self.state[param]
        if not state:
            state.update(step=0, exp_avg=torch.zeros_like(weight), exp_avg_sq=torch.zeros_like(weight))
        state["step"] += 1
        tensors = (weight, gradient, state["exp_avg"], state["exp_avg_sq"])
        for parts in zip(*(t.view(-1).split(ROUNDED_SLICE) for t in tensors), strict=True):
            _update_slice(*parts, step=state["step"], group=group)


def local(tensor: torch.Tensor | None) -> torch.Tensor:
    """The part of a sharded tensor that this process holds; any other tensor itself."""
    assert tensor is not None
    shard = getattr(tensor, "to_local", None)  # torch builds without distributed have no class to ask for
    return tensor if shard is None else shard()


def _update_slice(
    weight: torch.Tensor,
    gradient: torch.Tensor,
    mean: torch.Tensor,
    square: torch.Tensor,
    *,
    step: int,
    group: dict[str, Any],
) -> None:
    """One update of (n,) elements in place."""
    beta1, beta2 = group["betas"]
    w, g, m, v = (t.float() for t in (weight, gradient, mean, square))
    m = m.lerp(g, 1 - beta1)
    v = v.mul(beta2).addcmul_(g, g, value=1 - beta2)
    denominator = (v / (1 - beta2**step)).sqrt_().add_(group["eps"])
    w = (w * (1 - group["lr"] * group["weight_decay"])).addcdiv_(m, denominator, value=-group["lr"] / (1 - beta1**step))
    for target, value in ((weight, w), (mean, m), (square, v)):
        target.copy_(rounded(value) if target.dtype is torch.bfloat16 else value)


def rounded(value: torch.Tensor) -> torch.Tensor:
    """float32 numbers that bfloat16 holds exactly; each up or down as often as its mean demands. In place."""
    bits = value.view(torch.int32)
    noise = torch.randint(1 << LOW_BITS, value.shape, dtype=torch.int32, device=value.device)
    bits.add_(noise).bitwise_and_(-1 << LOW_BITS)
    return value
