"""Frozen layers in float8: what they compute, what gradients pass, and a run over them.

torch multiplies float8 on the processor as on a card, only slowly, so what runs here is the code that runs there.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from backprop.effects.train.float8 import Float8Frozen, hold_in_float8
from backprop.effects.train.loading import load_adapted
from backprop.plan.decision import Decision
from backprop.plan.errors import BackpropError
from backprop.plan.settings.lora import AdapterInit
from backprop.plan.training.plan import TrainPlan
from backprop.plan.training.precision import Float8Plan
from tests.effects.train.runs import Row, make_plan, make_rows, run

CPU = torch.device("cpu")
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def in_float8(model_dir: Path, rows: list[Row], **groups: Any) -> TrainPlan:
    """A plan of the processor as if it were a card's."""
    plan = make_plan(model_dir, rows, **groups)
    float8 = Float8Plan(Decision(LAYERS, "test", ""), ())
    return attrs.evolve(plan, precision=attrs.evolve(plan.precision, float8=float8))


def test_a_broken_torchao_is_a_catalogued_error(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def broken(name: str, *rest: Any) -> Any:
        if name.startswith("torchao"):
            raise OSError(f"{name}: undefined symbol")
        return real(name, *rest)

    plan = in_float8(model_dir, make_rows(4))
    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(BackpropError) as raised:
        load_adapted(plan, str(model_dir), checkpoint=None)
    (problem,) = raised.value.problems
    assert problem.code == "RUNTIME_FP8_UNSUPPORTED"
    assert "undefined symbol" in problem.message


def torchao() -> Any:
    pytest.importorskip("torchao")
    from backprop.effects.train.float8 import _Torchao

    return _Torchao()


@pytest.mark.parametrize("bias", [False, True])
def test_products_and_gradients_are_those_of_the_whole_weight_to_float8(bias: bool) -> None:
    torch.manual_seed(0)
    whole = torch.nn.Linear(64, 96, bias=bias)
    frozen = Float8Frozen(whole, torchao(), device=CPU)
    x = torch.randn(3, 20, 64, requires_grad=True)
    y = torch.randn(3, 20, 64, requires_grad=True)
    y.data = x.data.clone()
    gradient = torch.randn(3, 20, 96)
    frozen(x).float().backward(gradient)
    whole(y).backward(gradient)
    assert x.grad is not None
    assert y.grad is not None

    def error(found: torch.Tensor, expected: torch.Tensor) -> float:
        return float((found - expected).norm() / expected.norm())

    # Three bits of mantissa round by up to 1/16, two bits by 1/8; errors are independent.
    assert error(frozen(x).detach().float(), whole(y).detach()) < 0.05
    assert error(x.grad, y.grad) < 0.1


def test_weights_take_a_byte_each_and_only_the_frozen_ones(model_dir: Path) -> None:
    pytest.importorskip("torchao")
    model, _ = load_adapted(in_float8(model_dir, make_rows(4)), str(model_dir), checkpoint=None)
    held = [module for module in model.modules() if isinstance(module, Float8Frozen)]
    assert len(held) == 14
    assert all(module.data.element_size() == 1 and module.data.numel() > 0 for module in held)
    assert all(p.dtype is torch.float32 for n, p in model.named_parameters() if "lora_" in n)
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trainable
    assert all("lora_" in name for name in trainable)


def test_layers_without_an_adapter_become_float8_too_and_others_stay(model_dir: Path) -> None:
    pytest.importorskip("torchao")
    plan = make_plan(model_dir, make_rows(4), lora={"target_modules": ("q_proj",)})
    model, _ = load_adapted(plan, str(model_dir), checkpoint=None)
    hold_in_float8(model, ("q_proj", "up_proj"), device=CPU)
    paths = [path for path, module in model.named_modules() if isinstance(module, Float8Frozen)]
    assert {path.removesuffix(".base_layer").rpartition(".")[2] for path in paths} == {"q_proj", "up_proj"}
    assert sum(path.endswith("q_proj.base_layer") for path in paths) == 2


@pytest.mark.parametrize("lora", [{}, {"use_rslora": True}, {"init_lora_weights": AdapterInit.PISSA}])
def test_a_run_learns_as_over_whole_weights_and_resumes_on_the_same_bits(
    lora: dict[str, Any], model_dir: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torchao")
    rows = make_rows(4)
    groups: dict[str, Any] = {
        "lora": lora,
        "training": {"max_steps": 12, "save_steps": 6, "learning_rate": 2e-2, "logging_steps": 1},
    }
    whole = run(make_plan(model_dir, rows, **groups), rows, tmp_path / "whole")
    plan = in_float8(model_dir, rows, **groups)
    eight = run(plan, rows, tmp_path / "eight")
    assert eight.losses[0] == pytest.approx(whole.losses[0], abs=0.05)
    assert eight.losses[-1] < eight.losses[0] - 0.1
    resumed = run(plan, rows, tmp_path / "resumed", resume_from=tmp_path / "eight" / "checkpoint-6")
    assert resumed.losses == eight.losses[6:]
