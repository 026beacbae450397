"""4-bit weights on the processor: an evaluation in the middle leaves them as they are, and a merge at the end is right.

bitsandbytes repacks 4-bit weights in place when a layer is evaluated on a processor with AVX512-BF16; the next step
then crashes, and what is dequantized afterwards is garbage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from peft import PeftModel
from peft.utils.integrations import dequantize_module_weight
from transformers import AutoModelForCausalLM

from backprop.effects.train import loading
from backprop.effects.train.loading import load_adapted
from backprop.plan.events import Evaluated
from backprop.plan.training.plan import TrainPlan
from tests.effects.train.runs import Row, make_plan, make_rows, run
from tests.tiny import make_tiny_model


@pytest.fixture
def repacking(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Weights that bitsandbytes repacked: as it does where the processor has the instructions, else only in name."""
    seen: list[Any] = []
    original = bitsandbytes.nn.modules._convert_weight_packed_for_cpu

    def repack(weight: torch.Tensor, state: Any, *rest: Any) -> Any:
        seen.append(weight)
        return original(weight, state, *rest) if ORIGINAL_SUPPORT else (weight, state)

    monkeypatch.setattr(bitsandbytes.nn.modules, "_convert_weight_packed_for_cpu", repack)
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: True)
    return seen


ORIGINAL_SUPPORT = bitsandbytes.nn.modules.has_avx512bf16()


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough for a block of 64 weights in every row, which is what can be repacked."""
    return make_tiny_model(tmp_path_factory.mktemp("wide"), hidden=128)


def plan_of(model_dir: Path, rows: list[Row], *, evaluates: bool = True) -> TrainPlan:
    return make_plan(
        model_dir,
        rows,
        heldout=make_rows(3, seed=1) if evaluates else None,
        model={"load_in_4bit": True},
        training={
            "max_steps": 6,
            "logging_steps": 1,
            "learning_rate": 2e-2,
            "eval_every": 2 if evaluates else None,
        },
    )


def test_an_evaluation_in_the_middle_changes_nothing_and_the_merge_at_the_end_is_right(
    model_dir: Path, tmp_path: Path, repacking: list[Any]
) -> None:
    rows, heldout = make_rows(6), make_rows(3, seed=1)
    evaluated = run(plan_of(model_dir, rows), rows, tmp_path / "evaluated", heldout=heldout)
    assert sum(isinstance(event, Evaluated) for event in evaluated.events) == 3
    alone = run(plan_of(model_dir, rows, evaluates=False), rows, tmp_path / "alone")
    assert evaluated.losses == alone.losses
    assert repacking == []

    four_bit, _ = load_adapted(plan_of(model_dir, rows), str(model_dir), checkpoint=None)
    four_bit.load_adapter(str(tmp_path / "evaluated" / "checkpoint-6"), "trained")
    four_bit.set_adapter("trained")
    four_bit.eval()
    ids = torch.arange(3, 60)[None]
    with torch.no_grad():
        answered = four_bit(input_ids=ids).logits
    # What is exported is the adapter merged into the whole weights; it answers as the 4-bit model did, but for what
    # quantization takes from the weights, some 9 % of each.
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    merged = PeftModel.from_pretrained(base, tmp_path / "evaluated" / "checkpoint-6").merge_and_unload()
    with torch.no_grad():
        whole = merged(input_ids=ids).logits
    assert ((answered - whole).norm() / whole.norm()).item() < 0.15
    untouched = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    for name, layer in four_bit.named_modules():
        if isinstance(layer, bitsandbytes.nn.Linear4bit):
            weight = untouched.get_submodule(name.removeprefix("base_model.model.").removesuffix(".base_layer")).weight
            error = (dequantize_module_weight(layer).float() - weight).norm() / weight.norm()
            assert error < 0.12, name
    assert repacking == []


def test_without_the_guard_an_evaluation_repacks(
    model_dir: Path, repacking: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_forbid_repacking", lambda _model: None)
    model, _ = load_adapted(plan_of(model_dir, make_rows(6)), str(model_dir), checkpoint=None)
    model.eval()
    with torch.no_grad():
        model(input_ids=torch.arange(3, 60)[None])
    assert repacking
