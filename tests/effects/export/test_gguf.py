"""GGUF files of ours hold just what ggml would have made, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from backprop.effects.export.gguf import changed, write_gguf, write_gguf_lora
from backprop.effects.export.llama_server import loaded
from backprop.effects.export.quantizers import find_quantizer
from backprop.effects.probe.adapter import observe_adapter
from backprop.plan.decision import Refused
from backprop.plan.errors import BackpropError
from backprop.plan.export.gguf.adapter import plan_lora
from backprop.plan.export.gguf.names import Change
from backprop.plan.facts.absent import Absent
from backprop.plan.settings.verbs.export import Quantization
from tests.effects.export.peft_models import make_adapter
from tests.effects.export.test_gguf_families import IDS, cosine, llama_logits, planned, torch_logits, write
from tests.gguf_models import make_family_model

QUANTIZE = os.environ.get("BACKPROP_LLAMA_QUANTIZE") or shutil.which("llama-quantize")
needs_ggml = pytest.mark.skipif(not find_quantizer(None).has_k_quants, reason="ggml's routine is not installed")
needs_llama_cpp = pytest.mark.usefixtures("_llama_cpp")


@pytest.fixture
def _llama_cpp() -> None:
    pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_family_model(tmp_path_factory.mktemp("gguf") / "model", "llama")


def halved(directory: Path) -> Path:
    """The weights rounded to what f16 holds exactly, so that an f16 file loses nothing."""
    file = directory / "model.safetensors"
    save_file({k: v.astype(np.float16).astype(np.float32) for k, v in load_file(file).items()}, file, {"format": "pt"})
    return directory


def tensors_of(path: Path) -> Mapping[str, tuple[int, bytes]]:
    return {t.name: (int(t.tensor_type), t.data.tobytes()) for t in gguf.GGUFReader(path).tensors}


def test_rows_of_a_head_go_from_halves_to_pairs() -> None:
    head = np.arange(8, dtype=np.float32)[:, None]
    assert changed(head, Change.PERMUTE_QUERY, 4)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


@needs_ggml
@pytest.mark.parametrize("name", ["llama", "qwen2-tied", "gemma3_text", "phi3"])
@pytest.mark.parametrize("quantization", [Quantization.Q4_K_M, Quantization.Q2_K, Quantization.Q8_0])
def test_blocks_are_those_of_the_whole_tensor_at_once(tmp_path: Path, name: str, quantization: Quantization) -> None:
    directory = make_family_model(tmp_path / "model", name)
    found = tensors_of(write(directory, tmp_path / "m.gguf", quantization))
    weights = load_file(directory / "model.safetensors")
    plan, _ = planned(directory, quantization)
    quantize = find_quantizer(None).quantize
    heads = {Change.PERMUTE_QUERY: 4, Change.PERMUTE_KEY: 2}
    for tensor in plan.tensors:
        values = weights[str(tensor.source)] + np.float32(tensor.change is Change.ADD_ONE)
        if tensor.change in heads:
            shape, count = values.shape, heads[tensor.change]
            values = values.reshape(count, 2, -1, *shape[1:]).swapaxes(1, 2).reshape(shape)
        expected = quantize(np.ascontiguousarray(values.reshape(-1, values.shape[-1])), tensor.type)
        assert found[tensor.name] == (tensor.type.number, expected.tobytes()), tensor.name


@pytest.mark.skipif(QUANTIZE is None, reason="no llama-quantize on PATH or in BACKPROP_LLAMA_QUANTIZE")
@pytest.mark.parametrize("name", ["llama", "llama-tied", "qwen2", "gemma2", "phi3", "smollm3", "olmo2-tied"])
@pytest.mark.parametrize("quantization", [q for q in Quantization if q is not Quantization.F16])
def test_files_are_those_of_llama_quantize(tmp_path: Path, name: str, quantization: Quantization) -> None:
    directory = halved(make_family_model(tmp_path / "model", name, num_hidden_layers=8))
    plain = write(directory, tmp_path / "f16.gguf", Quantization.F16)
    theirs = tmp_path / "theirs.gguf"
    subprocess.run(
        [str(QUANTIZE), str(plain), str(theirs), quantization.value.upper()], check=True, capture_output=True
    )
    assert tensors_of(write(directory, tmp_path / "ours.gguf", quantization)) == tensors_of(theirs)


@needs_llama_cpp
@pytest.mark.parametrize("name", ["llama", "qwen3", "phi3", "gemma2", "olmo2"])
def test_an_adapter_is_merged_on_the_way(tmp_path: Path, name: str) -> None:
    base = make_family_model(tmp_path / "base", name)
    targets = ["qkv_proj", "down_proj"] if name == "phi3" else ["q_proj", "k_proj", "down_proj"]
    adapter = make_adapter(base, tmp_path / "adapter", target_modules=targets, use_dora=name == "qwen3")
    with loaded(write(base, tmp_path / "m.gguf", Quantization.F16, adapter), context=256) as server:
        found = llama_logits(server, IDS)
    assert cosine(found, torch_logits(base, IDS, adapter)) >= 0.99999
    assert cosine(found, torch_logits(base, IDS)) < 0.9999


@needs_llama_cpp
@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True, "r": 8},
        {"rank_pattern": {"layers.0.self_attn.q_proj": 2}, "alpha_pattern": {"down_proj": 32}},
    ],
)
@pytest.mark.parametrize("name", ["llama-tied", "qwen2"])
def test_an_adapter_file_is_laid_over_its_base(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    base = make_family_model(tmp_path / "base", name)
    targets = ["q_proj", "k_proj", "v_proj", "down_proj"]
    directory = make_adapter(base, tmp_path / "adapter", target_modules=targets, **settings)
    adapter = observe_adapter(directory)
    assert not isinstance(adapter, Absent)
    plan = plan_lora(adapter, json.loads((base / "config.json").read_text()), name="tiny")
    assert not isinstance(plan, Refused)
    write_gguf_lora(plan, tmp_path / "lora.gguf")
    plain = write(base, tmp_path / "base.gguf", Quantization.F16)
    with loaded(plain, lora=tmp_path / "lora.gguf", context=256) as server:
        found = llama_logits(server, IDS)
    assert cosine(found, torch_logits(base, IDS, directory)) >= 0.99999
    assert cosine(found, torch_logits(base, IDS)) < 0.9999


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}])
def test_what_a_gguf_adapter_cannot_say_is_refused(tmp_path: Path, model: Path, settings: dict[str, Any]) -> None:
    adapter = observe_adapter(make_adapter(model, tmp_path / "adapter", **settings))
    assert not isinstance(adapter, Absent)
    refused = plan_lora(adapter, json.loads((model / "config.json").read_text()), name="tiny")
    assert isinstance(refused, Refused)
    assert refused.problems[0].code == "INPUT_EXPORT_UNSUPPORTED"
    assert "--format gguf" in refused.problems[0].hint


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.nan, "INPUT_MODEL_INVALID.*up_proj.*not finite"),
        (np.inf, "INPUT_MODEL_INVALID.*up_proj.*not finite"),
        (1e30, "RUNTIME_GGUF_EXPORT_FAILED.*up_proj.*too large"),
    ],
)
def test_values_that_cannot_be_written_leave_nothing(tmp_path: Path, model: Path, value: float, told: str) -> None:
    broken = shutil.copytree(model, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(BackpropError, match=told):
        write(broken, tmp_path / "out" / "m.gguf", Quantization.F16)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_that_was_there_stands_when_the_next_one_fails(tmp_path: Path, model: Path) -> None:
    plan, merge = planned(model, Quantization.Q8_0)
    target = tmp_path / "m.gguf"
    target.write_bytes(b"former")

    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gguf(plan, merge, target, quantizer=find_quantizer(None), num_threads=1, progress=interrupt)
    assert target.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [target]


def test_the_number_of_threads_makes_no_difference(tmp_path: Path, model: Path) -> None:
    plan, merge = planned(model, Quantization.Q8_0)
    for threads in (1, 3):
        write_gguf(plan, merge, tmp_path / str(threads), quantizer=find_quantizer(None), num_threads=threads)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "3").read_bytes()


def test_progress_is_told_to_the_last_element(tmp_path: Path, model: Path) -> None:
    plan, merge = planned(model, Quantization.F16)
    told: list[tuple[int, int]] = []
    write_gguf(
        plan,
        merge,
        tmp_path / "m",
        quantizer=find_quantizer(None),
        num_threads=2,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)
