"""Our AdamW is torch's on float32 weights, and right in the mean on bfloat16 ones."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from backprop.effects.train import rounded_adamw
from backprop.effects.train.rounded_adamw import RoundedAdamW, rounded
from backprop.plan.training.learning_rate import FULL_FINE_TUNING_RATE
from tests.effects.probe.smollm2 import MODEL


def stepped(optimizer: torch.optim.Optimizer, weight: torch.nn.Parameter, steps: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        weight.grad = torch.randn(weight.shape, generator=generator).to(weight.dtype)
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("elements_at_once", [7, 1 << 22])
def test_float32_weights_move_as_with_torch(monkeypatch: pytest.MonkeyPatch, elements_at_once: int) -> None:
    monkeypatch.setattr(rounded_adamw, "ROUNDED_SLICE", elements_at_once)
    start = torch.randn(13, 5, generator=torch.Generator().manual_seed(0))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    arguments = {"lr": 1e-2, "weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-6}
    mine = stepped(RoundedAdamW([ours], **arguments), ours, 20)  # type: ignore[arg-type]
    reference = stepped(torch.optim.AdamW([theirs], **arguments), theirs, 20)  # type: ignore[arg-type]
    torch.testing.assert_close(mine, reference, rtol=1e-6, atol=1e-7)


def test_rounding_gives_neighbours_with_the_right_mean() -> None:
    torch.manual_seed(0)
    exact = torch.tensor([1.0, 1.001, -1.001, 0.0, 3e-5, -250.3, float("inf")])
    drawn = torch.stack([rounded(exact.clone()) for _ in range(20_000)])
    assert torch.equal(drawn, drawn.to(torch.bfloat16).float())
    finite = exact.isfinite()
    gap = 2.0**-7 * exact[finite].abs()
    assert ((drawn[:, finite] - exact[finite]).abs() <= gap).all()
    error = (drawn[:, finite].double().mean(0) - exact[finite].double()).abs()
    # The mean of n draws is off by at most half a gap over the root of n; five of those are never seen.
    assert (error <= 5 * 0.5 * gap / 20_000**0.5 + 1e-12).all()
    assert (drawn[:, ~finite] == exact[~finite]).all()


def test_bfloat16_weights_follow_float32_ones_through_updates_that_rounding_to_the_nearest_loses() -> None:
    torch.manual_seed(0)
    exact, ours, nearest = (
        torch.nn.Parameter(torch.ones(4096, dtype=d)) for d in (torch.float32, *[torch.bfloat16] * 2)
    )
    arguments = {"lr": 1e-4, "weight_decay": 0.0}
    optimizers = (
        torch.optim.AdamW([exact], **arguments),  # type: ignore[arg-type]
        RoundedAdamW([ours], **arguments),  # type: ignore[arg-type]
        torch.optim.AdamW([nearest], **arguments),  # type: ignore[arg-type]
    )
    for weight, optimizer in zip((exact, ours, nearest), optimizers, strict=True):
        for _ in range(200):
            weight.grad = torch.ones_like(weight)
            optimizer.step()
    assert exact.mean().item() == pytest.approx(0.98, abs=1e-4)
    assert ours.float().mean().item() == pytest.approx(0.98, abs=5e-4)
    assert nearest.float().mean().item() == 1.0


@pytest.mark.slow
def test_most_weights_of_a_real_model_would_not_move_if_rounded_to_the_nearest() -> None:
    stay = total = 0
    for weight in load_file(MODEL / "model.safetensors").values():
        held = weight.to(torch.bfloat16)
        stay += int(((held.float() - FULL_FINE_TUNING_RATE).to(torch.bfloat16) == held).sum())
        total += held.numel()
    assert stay / total == pytest.approx(0.96, abs=0.005)


def test_the_second_moment_decays_in_bfloat16() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(4096, dtype=torch.bfloat16))
    optimizer = RoundedAdamW([weight], lr=1e-4)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    for _ in range(700):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    square = optimizer.state[weight]["exp_avg_sq"]
    assert square.dtype is torch.bfloat16
    assert square.float().mean().item() == pytest.approx(1e-3 * 0.999**700, rel=0.03)
