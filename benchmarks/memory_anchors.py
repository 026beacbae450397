"""What other predictors of training memory say about a run. Formulas and figures are restated from their sources.

Each answers None for a run that it has no means to describe. GB in tables are taken as 10⁹ bytes.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from backprop.plan.memory.training import LossHead, MemoryMethod, MemoryOptimizer
from benchmarks.memory_points import Point

Predictor: TypeAlias = Callable[[Point], int | None]

GB = 10**9
VRAMCALC_TARGETS = {"q_proj", "k_proj", "v_proj", "o_proj"}
TORCH_ADAMW = (MemoryOptimizer.ADAMW_FUSED, MemoryOptimizer.ADAMW_FOREACH)

LLAMA_FACTORY_SIZES = (7, 14, 30, 70)
LLAMA_FACTORY_GB = {
    "full, 32 bits": ((120, 240, 600, 1200), 18.0),
    "full, pure bf16": ((60, 120, 300, 600), 8.0),
    "16-bit adapter": ((16, 32, 64, 160), 2.0),
    "4-bit adapter": ((6, 12, 24, 48), 0.5),
}
"""Row: GB by billions of parameters, and GB a billion parameters for any other size."""

UNSLOTH_SIZES = (3, 7, 8, 9, 11, 14, 27, 32, 40, 70, 81, 90, 405)
UNSLOTH_GB = {
    "4-bit adapter": (3.5, 5, 6, 6.5, 7.5, 8.5, 22, 26, 30, 41, 48, 53, 237),
    "16-bit adapter": (8, 19, 22, 24, 29, 33, 64, 76, 96, 164, 192, 212, 950),
}


def vramcalc(point: Point) -> int | None:
    """vramcalc 0.1.2, its own code: ``estimate(config, mode="train", …).total``, without the context.

    It describes dense Llama, Mistral, Qwen 2 and Gemma models, plain AdamW, all logits, and LoRA on the four
    projections of attention; neither quantized weights nor 8-bit optimizers nor a fused head. It has no word for
    gradient accumulation; it counts gradients beside activations, as accumulation makes them be.
    """
    training = point.training
    is_lora = training.method is MemoryMethod.LORA
    is_told = training.method is MemoryMethod.FULL or (is_lora and set(training.targets) == VRAMCALC_TARGETS)
    if not is_told or training.optimizer not in TORCH_ADAMW or training.loss is not LossHead.FULL_LOGITS:
        return None
    package = importlib.import_module("vramcalc")
    try:
        estimate = package.estimate(
            dict(point.config),
            mode="train",
            batch=training.batch,
            seq_len=training.sequence,
            lora_rank=training.rank if is_lora else None,
            grad_checkpoint=training.checkpoints,
            precision="amp" if training.fp32_weights else "pure",
            attn_impl=training.attention.value,
        )
    except package.UnsupportedModelError:
        return None
    return int(estimate.total)


def accelerate(point: Point) -> int | None:
    """accelerate 1.15.0, ``accelerate estimate-memory``, "Training using Adam" for float16 (commands/estimate.py).

    Twice the bytes that the model takes in float32. It builds the model with ``AutoModel``, which has no LM head,
    and knows neither batch nor sequence; what adapters take it does not say.
    """
    if point.training.method is not MemoryMethod.FULL:
        return None
    model = point.model
    head = 0 if model.tie_word_embeddings else model.vocab_size * model.hidden_size
    return 2 * 4 * (model.num_parameters - head)


def llama_factory(point: Point) -> int | None:
    """LLaMA-Factory, README, "Hardware Requirement" (estimated, as it says), 2025.

    Read between two columns in a straight line; below the first one by the formula of its last column. It says
    neither for which batch, sequence, rank nor optimizer.
    """
    if point.training.method is MemoryMethod.FULL:
        row: str | None = "full, 32 bits" if point.training.fp32_weights else "full, pure bf16"
    else:
        row = _adapter_row(point)
    if row is None:
        return None
    figures, per_billion = LLAMA_FACTORY_GB[row]
    size = point.nominal_billions
    between = _between(LLAMA_FACTORY_SIZES, figures, size)
    return round(GB * (per_billion * size if between is None else between))


def unsloth(point: Point) -> int | None:
    """Unsloth, docs, "Unsloth Requirements", 2025: the least that QLoRA and LoRA take with Unsloth's own kernels.

    Read between two rows in a straight line; nothing about smaller models than 3 B, or about training all weights.
    """
    row = _adapter_row(point)
    if row is None:
        return None
    between = _between(UNSLOTH_SIZES, UNSLOTH_GB[row], point.nominal_billions)
    return None if between is None else round(GB * between)


def deepspeed_zero2(point: Point) -> int | None:
    """DeepSpeed, ``estimate_zero2_model_states_mem_needs`` on one card without offload (stage_1_and_2.py, 2025).

    20 B a parameter: weights and gradients in 16 and in 32 bits, and Adam's two moments. Activations are left out.
    """
    return 20 * point.model.num_parameters if point.training.method is MemoryMethod.FULL else None


def deepspeed_zero3(point: Point) -> int | None:
    """DeepSpeed, ``estimate_zero3_model_states_mem_needs`` on one card without offload (stage3.py, 2025).

    18 B a parameter, and 4 B for each of the largest layer, which is the embedding.
    """
    if point.training.method is not MemoryMethod.FULL:
        return None
    model = point.model
    return zero3_bytes(model.num_parameters, largest_layer=model.vocab_size * model.hidden_size)


def zero3_bytes(num_parameters: int, *, largest_layer: int) -> int:
    """The formula of ZeRO-3 on one card, from the parameters of the model and of its largest layer."""
    return 18 * num_parameters + 4 * largest_layer


ANCHORS: Mapping[str, Predictor] = MappingProxyType(
    {
        "vramcalc": vramcalc,
        "accelerate": accelerate,
        "LLaMA-Factory": llama_factory,
        "Unsloth": unsloth,
        "DeepSpeed ZeRO-2": deepspeed_zero2,
        "DeepSpeed ZeRO-3": deepspeed_zero3,
    }
)
"""All of them by name; ``vramcalc`` can be asked only where its package is installed."""


def available_anchors() -> dict[str, Predictor]:
    """Those that can be asked here."""
    is_missing = importlib.util.find_spec("vramcalc") is None
    return {name: anchor for name, anchor in ANCHORS.items() if not (name == "vramcalc" and is_missing)}


def _adapter_row(point: Point) -> str | None:
    """None where every weight is trained, and for adapters on weights in 32 bits, which no table has."""
    training = point.training
    if training.method.is_quantized:
        return "4-bit adapter"
    return None if training.method is MemoryMethod.FULL or training.fp32_weights else "16-bit adapter"


def _between(sizes: tuple[int, ...], figures: tuple[float, ...], size: float) -> float | None:
    """The figure for ``size``, in a straight line between two of the table; None outside of the table."""
    table = zip(sizes, figures, strict=True)
    for (low, low_figure), (high, high_figure) in itertools.pairwise(table):
        if low <= size <= high:
            return low_figure + (high_figure - low_figure) * (size - low) / (high - low)
    return None
