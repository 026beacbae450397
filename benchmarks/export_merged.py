"""What a merged export costs beside a plain copy of the same bytes: wall time, CPU time and peak memory.

``python -m benchmarks.export_merged [DIRECTORY]`` makes a model of 1.1 billion parameters and an adapter on all its
linear layers in DIRECTORY (2.2 GB, and as much again for what is written), then takes turns in copying and exporting,
each synced to the disk. It exits 1 when the export is slower than SHARE of the copy rate or takes more than MEGABYTES.
"""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np

from backprop.effects.files.atomic import sync_tree

SHARE, MEGABYTES, TURNS = 0.6, 1000, 3
LAYERS, HIDDEN, INTERMEDIATE, KEYS, VOCABULARY, RANK = 22, 2048, 5632, 256, 32000, 16
SHARD_BYTES = 10**9
LINEAR = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KEYS, HIDDEN),
    "self_attn.v_proj": (KEYS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
}
Shapes = dict[str, tuple[int, ...]]


@attrs.frozen
class Cost:
    """What one way took."""

    seconds: float
    cpu_seconds: float
    peak_mb: float


def make_model(directory: Path) -> Path:
    """TinyLlama's shape, random weights, in shards of 1 GB as Hugging Face's."""
    directory.mkdir()
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
    }
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shards = list(_shards())
    names = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for name, shapes in zip(names, shards, strict=True):
        write_tensors(directory / name, shapes, dtype="BF16", spread=0.02)
    where = {tensor: name for name, shapes in zip(names, shards, strict=True) for tensor in shapes}
    index = {"metadata": {}, "weight_map": where}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return directory


def make_adapter(directory: Path, base: Path) -> Path:
    """An adapter on every linear layer."""
    directory.mkdir()
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "base_model_name_or_path": str(base)}
    (directory / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    shapes: Shapes = {}
    for layer in range(LAYERS):
        for name, (out, into) in LINEAR.items():
            module = f"base_model.model.model.layers.{layer}.{name}"
            shapes[f"{module}.lora_A.weight"] = (RANK, into)
            shapes[f"{module}.lora_B.weight"] = (out, RANK)
    write_tensors(directory / "adapter_model.safetensors", shapes, dtype="F32", spread=0.01)
    return directory


def write_tensors(path: Path, shapes: Shapes, *, dtype: str, spread: float) -> None:
    """A safetensors file of normal numbers; a block of them repeats."""
    block = (np.random.default_rng(0).standard_normal(2**20) * spread).astype(np.float32)
    stored = (block.view(np.uint32) >> 16).astype(np.uint16) if dtype == "BF16" else block
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * stored.itemsize
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            for start in range(0, size := math.prod(shape), stored.size):
                file.write(stored[: min(stored.size, size - start)].data)


def _shards() -> Iterator[Shapes]:
    shapes: Shapes = {}
    for name, shape in _tensors():
        if sum(map(math.prod, shapes.values())) * 2 > SHARD_BYTES:
            yield shapes
            shapes = {}
        shapes[name] = shape
    yield shapes


def _tensors() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        yield f"model.layers.{layer}.input_layernorm.weight", (HIDDEN,)
        yield f"model.layers.{layer}.post_attention_layernorm.weight", (HIDDEN,)
        for name, shape in LINEAR.items():
            yield f"model.layers.{layer}.{name}.weight", shape
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


def copied(source: Path, target: Path) -> Cost:
    """The model's directory, copied as the system does it best, and synced."""
    shutil.rmtree(target, ignore_errors=True)
    os.sync()
    begun, cpu = time.perf_counter(), time.process_time()
    shutil.copytree(source, target)
    sync_tree(target)
    cost = Cost(time.perf_counter() - begun, time.process_time() - cpu, 0.0)
    shutil.rmtree(target)
    return cost


def exported(adapter: Path, target: Path, *flags: str) -> Cost:
    """``backprop export``, start of the program included."""
    shutil.rmtree(target, ignore_errors=True)
    os.sync()
    words = [sys.executable, "-m", "backprop", "export", str(adapter), "-f", "merged", "-o", str(target), *flags]
    begun = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, f"{' '.join(words)} failed"
    shutil.rmtree(target)
    return _cost(time.perf_counter() - begun, usage)


def _cost(seconds: float, usage: resource.struct_rusage) -> Cost:
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def main(directory: Path) -> int:
    """Measure in turns, print the best of each, and judge."""
    base = make_model(directory / "base")
    adapter = make_adapter(directory / "adapter", base)
    num_bytes = sum(file.stat().st_size for file in base.iterdir())
    out = directory / "out"
    turns = [
        (copied(base, directory / "copy"), exported(adapter, out), exported(adapter, out, "--no-verify"))
        for _ in range(TURNS)
    ]
    best = [min(column, key=lambda cost: cost.seconds) for column in zip(*turns, strict=True)]
    for name, cost in zip(("copied", "exported", "exported, --no-verify"), best, strict=True):
        rate = num_bytes / cost.seconds / 1e6
        numbers = f"{cost.seconds:6.2f} s {rate:7.0f} MB/s {cost.cpu_seconds:6.2f} CPU s {cost.peak_mb:6.0f} MB peak"
        print(f"{name:22} {numbers}")
    share = best[0].seconds / best[1].seconds
    print(f"{share:.0%} of the copy rate; at least {SHARE:.0%}, in at most {MEGABYTES} MB")
    return int(share < SHARE or best[1].peak_mb > MEGABYTES)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as place:
        sys.exit(main(Path(place)))
