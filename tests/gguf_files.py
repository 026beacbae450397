"""Small GGUF files, written with the format's own package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from gguf import GGUFWriter

from tests.tiny import CHATML

TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b")
CONTROL, NORMAL = 3, 1
WIDTH, OUT = 8, 16
TARGET = "blk.0.attn_q.weight"


def write_model(
    path: Path,
    *,
    architecture: str = "llama",
    template: str | None = CHATML,
    shapes: Mapping[str, tuple[int, ...]] = {TARGET: (OUT, WIDTH)},
) -> Path:
    """A model with these tensors, (rows, columns), and a vocabulary of five tokens."""
    writer = GGUFWriter(path, architecture)
    writer.add_type("model")
    writer.add_block_count(1)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(list(TOKENS))
    writer.add_token_types([CONTROL, CONTROL, CONTROL, NORMAL, NORMAL])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    if template is not None:
        writer.add_chat_template(template)
    for name, shape in shapes.items():
        writer.add_tensor(name, np.zeros(shape, dtype=np.float32))
    return _written(writer, path)


def write_adapter(
    path: Path,
    *,
    architecture: str = "llama",
    target: str = TARGET,
    shape: tuple[int, int] = (OUT, WIDTH),
    rank: int = 2,
) -> Path:
    """A LoRA adapter on one matrix of (rows, columns)."""
    writer = GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    writer.add_tensor(f"{target}.lora_a", np.zeros((rank, shape[1]), dtype=np.float32))
    writer.add_tensor(f"{target}.lora_b", np.zeros((shape[0], rank), dtype=np.float32))
    return _written(writer, path)


def _written(writer: GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
