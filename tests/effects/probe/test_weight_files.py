"""Headers of weight files, against the safetensors package."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from backprop.effects.probe.weight_files import WeightsDamaged, WeightsIncomplete, read_header, read_weights
from backprop.plan.facts.model import LinearLayer

TENSORS = {
    "model.embed_tokens.weight": torch.zeros(10, 4, dtype=torch.bfloat16),
    "model.layers.0.mlp.down_proj.weight": torch.zeros(4, 6, dtype=torch.bfloat16),
    "model.layers.0.self_attn.q_proj.weight": torch.zeros(8, 4, dtype=torch.bfloat16),
    "model.layers.0.self_attn.q_proj.bias": torch.zeros(8),
    "model.layers.1.self_attn.q_proj.weight": torch.zeros(8, 4, dtype=torch.bfloat16),
    "model.vision_tower.layers.0.self_attn.k_proj.weight": torch.zeros(3, 3, dtype=torch.bfloat16),
    "mtp.layers.0.mlp.down_proj.weight": torch.zeros(4, 6, dtype=torch.bfloat16),
    "mtp.layers.1.mlp.down_proj.weight": torch.zeros(4, 6, dtype=torch.bfloat16),
    "lm_head.weight": torch.zeros(10, 4, dtype=torch.bfloat16),
}

SHAPE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


def test_a_header_tells_what_safetensors_loads(directory: Path) -> None:
    path = directory / "model.safetensors"
    with safe_open(path, "pt") as file:
        loaded = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    told = read_header(path)
    assert {t.name: (t.shape, t.dtype, t.size, t.num_bytes) for t in told} == {
        name: (tuple(t.shape), str(t.dtype).removeprefix("torch."), t.numel(), t.nbytes) for name, t in loaded.items()
    }


def test_linear_layers_are_those_of_the_text_model_in_the_order_of_the_forward_pass(directory: Path) -> None:
    weights = read_weights(directory)
    assert weights is not None
    assert weights.linear_layers() == (LinearLayer("q_proj", 4, 8), LinearLayer("down_proj", 6, 4, some=1))


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("llama", {}),
        ("lfm2", {"full_attn_idxs": [1, 3]}),
        ("qwen3_5_text", {"linear_num_key_heads": 2, "linear_num_value_heads": 4}),
    ],
)
def test_layers_that_only_some_decoder_layers_have_are_found_too(
    tmp_path: Path, family: str, more: dict[str, Any]
) -> None:
    config = AutoConfig.for_model(family, **SHAPE, **more)
    model: Any = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    weights = read_weights(tmp_path)
    assert weights is not None
    found = {layer.name: layer.times(4) for layer in weights.linear_layers() or ()}
    layers = [
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and ".layers." in name
    ]
    assert found == Counter(name.rsplit(".", 1)[-1] for name in layers)


def test_a_tied_head_counts_once(directory: Path) -> None:
    weights = read_weights(directory)
    assert weights is not None
    stored = sum(tensor.numel() for tensor in TENSORS.values())
    assert weights.num_parameters(tied=False) == stored
    assert weights.num_parameters(tied=True) == stored - 40


def test_the_type_is_that_of_most_bytes(directory: Path) -> None:
    weights = read_weights(directory)
    assert weights is not None
    assert weights.dtype == "bfloat16"


@pytest.mark.parametrize("change", [-1, 1, 100])
def test_a_file_that_is_longer_or_shorter_than_its_header_says_is_damaged(directory: Path, change: int) -> None:
    path = directory / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + b"\0" * change)
    with pytest.raises(WeightsDamaged, match=rf"has {len(content) + change} bytes where its header tells of"):
        read_weights(directory)


@pytest.mark.parametrize(
    "header", [b"{", b"[]", b'{"a": 1}', b'{"a": {}}', b'{"a": {"data_offsets": []}}', b"[" * 10_000, b"\xff\xfe"]
)
def test_a_header_that_cannot_be_read_is_damage(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(WeightsDamaged, match="cannot be read"):
        read_weights(tmp_path)


def test_files_that_an_index_names_and_are_missing_are_counted(tmp_path: Path) -> None:
    names = {f"w{i}": f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    save_file({"w1": torch.zeros(1)}, tmp_path / names["w1"])
    with pytest.raises(WeightsIncomplete, match="2 of 3 weight files are missing"):
        read_weights(tmp_path)


@pytest.mark.parametrize("index", ["", "{}", "[]", '{"weight_map": {}}', '{"weight_map": {"a": "../up.safetensors"}}'])
def test_an_index_that_names_nothing_beside_it_is_damage(tmp_path: Path, index: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(WeightsDamaged, match=r"model\.safetensors\.index\.json"):
        read_weights(tmp_path)


def test_a_directory_without_weights_has_none(tmp_path: Path) -> None:
    assert read_weights(tmp_path) is None
