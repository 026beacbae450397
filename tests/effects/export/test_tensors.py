"""Merged tensors against PEFT's, and the conversions of types against torch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backprop.effects.export.tensors import MergedTensor, SourceFiles, check_adapter_finite, decode, encode, is_finite
from backprop.effects.probe.adapter import observe_adapter, observe_base
from backprop.plan.errors import BackpropError
from backprop.plan.export.merge import MergePlan, plan_merge
from backprop.plan.export.sources import AdapterFacts, BaseFacts
from tests.effects.export.peft_models import make_adapter, make_model, merged_by_peft

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "ranks and alphas of its own": {
        "target_modules": "all-linear",
        "rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.up_proj": 8, "^model.layers.0.self_attn.o_proj": 3},
        "alpha_pattern": {"q_proj": 5, "gate_proj": 1},
    },
    "rslora with patterns": {"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"down_proj": 5}},
    "converted PiSSA": {"r": 8, "lora_alpha": 16},
    "biases": {"bias": "lora_only"},
    "untied": {"target_modules": ["embed_tokens", "lm_head", "q_proj"]},
    "DoRA on the embedding": {"target_modules": ["embed_tokens", "q_proj"], "use_dora": True},
    "whole modules": {"modules_to_save": ["lm_head", "norm"]},
}


def planned(base: Path, adapter: Path) -> MergePlan:
    base_facts, adapter_facts = observe_base(base), observe_adapter(adapter)
    assert isinstance(base_facts, BaseFacts), base_facts
    assert isinstance(adapter_facts, AdapterFacts), adapter_facts
    plan = plan_merge(base_facts, adapter_facts)
    assert isinstance(plan, MergePlan), plan
    return plan


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_tensor_is_the_one_that_peft_makes(kind: str, tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", tie_word_embeddings=False, attention_bias=kind == "biases")
    adapter = make_adapter(base, tmp_path / "adapter", **KINDS[kind])
    expected = merged_by_peft(base, adapter)
    plan = planned(base, adapter)
    assert {entry.name for entry in plan.entries} == set(expected)
    assert any(not entry.is_copy for entry in plan.entries)
    with SourceFiles() as files:
        for entry in plan.entries:
            wanted = expected[entry.name].numpy()
            merged = MergedTensor(files, entry)
            assert np.abs(merged.whole() - wanted).max() < 1e-6
            rows = np.concatenate([merged.rows(*block) for block in merged.blocks(1000)])
            assert np.abs(rows.reshape(wanted.shape) - wanted).max() < 1e-6


BITS = np.concatenate(
    [
        np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32),
        np.array([0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0x7F7FFFFF, 0x80000000, 1, 0x7F800000], np.uint32),
    ]
)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_rounding_is_torchs(dtype: str) -> None:
    values = BITS.view(np.float32)
    values = values[~np.isnan(values)]
    ours = encode(values.copy(), dtype)
    theirs = torch.from_numpy(values.copy()).to(getattr(torch, dtype))
    assert ours.tobytes() == theirs.view(torch.uint8).numpy().tobytes()
    assert decode(ours.view(np.uint8), dtype).tobytes() == theirs.float().numpy().tobytes()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_what_is_not_finite_is_found(dtype: str) -> None:
    numbers = np.array([0, -1.5, 65504, 1e-7], np.float64)
    for broken in (np.nan, -np.nan, np.inf, -np.inf):
        for values, finite in ((numbers, True), (np.append(numbers, broken), False)):
            raw = torch.from_numpy(values).to(getattr(torch, dtype)).view(torch.uint8).numpy()
            assert is_finite(raw, dtype) is finite


def test_an_adapter_with_nan_is_named(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base")
    adapter = make_adapter(base, tmp_path / "adapter")
    facts = observe_adapter(adapter)
    assert isinstance(facts, AdapterFacts)
    tensor = facts.tensors[1].facts
    check_adapter_finite(facts)
    with Path(tensor.file).open("r+b") as file:
        file.seek(tensor.begin + 4)
        file.write(np.float32(np.nan).tobytes())
    with pytest.raises(BackpropError, match=f"{tensor.name}\\."):
        check_adapter_finite(facts)
