"""How fast a LoRA on a model of a billion parameters becomes a 4-bit GGUF file, beside ggml's own rate of quantizing.

Run as a module: python -m benchmarks.export_gguf. It makes the model on the disk (2.5 GB in bfloat16) and removes it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from backprop.effects.export.gguf import write_gguf
from backprop.effects.export.quantizers import Array, Quantizer, find_quantizer
from backprop.effects.probe.adapter import observe_adapter, observe_base
from backprop.plan.decision import Refused
from backprop.plan.export.gguf.ggml import GgmlType
from backprop.plan.export.gguf.plan import GgufPlan, Stored, plan_gguf
from backprop.plan.export.gguf.vocabulary import TokenizerSource
from backprop.plan.export.merge import MergePlan, plan_merge
from backprop.plan.facts.absent import Absent
from backprop.plan.settings.verbs.export import Quantization

HIDDEN, LAYERS, INTERMEDIATE, HEADS, KV_HEADS, VOCABULARY = 2048, 16, 8192, 32, 8, 128_256
"""Llama 3.2 1B."""
RANK = 16
SAMPLE_SECONDS = 2.0
LINEAR = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN // HEADS * KV_HEADS, HIDDEN),
    "self_attn.v_proj": (HIDDEN // HEADS * KV_HEADS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
}


def base_tensors() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes."""
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(LAYERS):
        for name, shape in LINEAR.items():
            yield f"model.layers.{layer}.{name}.weight", shape
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{layer}.{norm}.weight", (HIDDEN,)
    yield "model.norm.weight", (HIDDEN,)


def adapter_tensors() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes."""
    for layer in range(LAYERS):
        for name, (rows, columns) in LINEAR.items():
            stem = f"base_model.model.model.layers.{layer}.{name}"
            yield f"{stem}.lora_A.weight", (RANK, columns)
            yield f"{stem}.lora_B.weight", (rows, RANK)


def save(path: Path, tensors: list[tuple[str, tuple[int, ...]]], dtype: str) -> None:
    """A safetensors file of normal numbers, the same million again and again."""
    block = (np.random.default_rng(0).normal(size=2**20) * 0.02).astype(np.float32)
    raw = (block.view(np.uint32) >> 16).astype(np.uint16).tobytes() if dtype == "BF16" else block.tobytes()
    item = 2 if dtype == "BF16" else 4
    header, end = {}, 0
    for name, shape in tensors:
        begin, end = end, end + int(np.prod(shape)) * item
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        while end > 0:
            end -= file.write(raw[: min(end, len(raw))])


def make(root: Path) -> None:
    """The model and an adapter of it."""
    (root / "base").mkdir()
    (root / "adapter").mkdir()
    config = {
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "intermediate_size": INTERMEDIATE,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": True,
        "rms_norm_eps": 1e-5,
    }
    (root / "base" / "config.json").write_text(json.dumps(config))
    save(root / "base" / "model.safetensors", list(base_tensors()), "BF16")
    lora = {"peft_type": "LORA", "r": RANK, "lora_alpha": 32, "target_modules": [n.split(".")[1] for n in LINEAR]}
    (root / "adapter" / "adapter_config.json").write_text(json.dumps(lora))
    save(root / "adapter" / "adapter_model.safetensors", list(adapter_tensors()), "F32")


def plan(root: Path, quantization: Quantization) -> tuple[GgufPlan, MergePlan]:
    """With a vocabulary of as many made-up tokens."""
    base, adapter = observe_base(root / "base"), observe_adapter(root / "adapter")
    assert not isinstance(base, Absent)
    assert not isinstance(adapter, Absent)
    merge = plan_merge(base, adapter)
    assert not isinstance(merge, Refused), merge
    definition = {
        "model": {"type": "BPE", "vocab": {f"token{i}": i for i in range(VOCABULARY)}, "merges": ["a b"]},
        "pre_tokenizer": {"type": "ByteLevel"},
    }
    tokenizer = TokenizerSource(definition, {}, None, "llama-bpe")
    made = plan_gguf(
        base.config,
        [Stored(entry.name, entry.shape) for entry in merge.entries],
        tokenizer,
        name="1B",
        is_tied=True,
        quantization=quantization,
    )
    assert not isinstance(made, Refused), made
    return made, merge


def export(root: Path, quantization: Quantization, threads: int) -> None:
    """One export in this process; prints seconds of the clock, of the processor, and the peak of memory."""
    made, merge = plan(root, quantization)
    before, begun = time.process_time(), time.perf_counter()
    write_gguf(made, merge, root / "out.gguf", quantizer=find_quantizer(None), num_threads=threads)
    seconds, processor = time.perf_counter() - begun, time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "processor_seconds": processor, "peak_bytes": peak}))


def rates(quantizer: Quantizer, type: GgmlType, threads: int) -> tuple[float, float]:
    """ggml alone on blocks in the cache: (elements a second of all threads together, a second of processor)."""
    block: Array = (np.random.default_rng(1).normal(size=(128, HIDDEN)) * 0.02).astype(np.float32)

    def work(_: int) -> int:
        done, end = 0, time.perf_counter() + SAMPLE_SECONDS
        while time.perf_counter() < end:
            quantizer.quantize(block, type)
            done += block.size
        return done

    before, begun = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        done = sum(pool.map(work, range(threads)))
    return done / (time.perf_counter() - begun), done / (time.process_time() - before)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quantization", default="q4_k_m", choices=[q.value for q in Quantization])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--directory", default=None, help="where the model is made; needs 4 GB")
    parser.add_argument("--child", default=None, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    quantization = Quantization(asked.quantization)
    if asked.child:
        export(Path(asked.child), quantization, asked.threads)
        return
    with tempfile.TemporaryDirectory(dir=asked.directory) as folder:
        root = Path(folder)
        make(root)
        command = [sys.executable, "-m", "benchmarks.export_gguf", "--child", folder]
        command += ["--quantization", quantization.value, "--threads", str(asked.threads)]
        measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        made, _ = plan(root, quantization)
        report(made, measured, asked.threads)


def report(made: GgufPlan, measured: dict[str, float], threads: int) -> None:
    """The export beside what ggml alone would take for the same elements."""
    quantizer = find_quantizer(None)
    sizes: Counter[GgmlType] = Counter()
    for tensor in made.tensors:
        if tensor.type.is_quantized:
            sizes[tensor.type] += int(np.prod(tensor.shape))
    wall = processor = 0.0
    for type, size in sizes.items():
        by_clock, by_processor = rates(quantizer, type, threads)
        wall += size / by_clock
        processor += size / by_processor
        print(f"{type.name}: {size / 1e6:,.0f} M elements; ggml alone {by_clock / 1e6:,.0f} M/s on {threads} threads")
    total = sum(sizes.values())
    print(f"export: {measured['seconds']:.1f} s, {total / measured['seconds'] / 1e6:,.0f} M elements/s, ", end="")
    print(f"{made.data_bytes / 1e6:,.0f} MB written, peak memory {measured['peak_bytes'] / 1e6:,.0f} MB")
    print(f"of ggml's own rate x cores: {wall / measured['seconds']:.0%} by the clock, ", end="")
    print(f"{processor / measured['processor_seconds']:.0%} by processor time")


if __name__ == "__main__":
    main()
