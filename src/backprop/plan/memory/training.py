"""How it is trained: the settings that training memory depends on.

Some serve other stacks than ours, whose runs the prediction is compared with (benchmarks/memory_points.py): all
logits in fp32, weights that ``prepare_model_for_kbit_training`` cast, outputs and gradients that are kept. Plans leave
them at their defaults.
"""

from __future__ import annotations

import enum

import attrs

from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.device import Device
from backprop.plan.memory.objective import Objective


class MemoryMethod(enum.Enum):
    """What is trained, on which kind of frozen weights."""

    LORA = "lora"
    QLORA = "qlora"
    DORA = "dora"
    QDORA = "qdora"
    FULL = "full"

    @property
    def is_quantized(self) -> bool:
        """The frozen weights are NF4."""
        return self in (MemoryMethod.QLORA, MemoryMethod.QDORA)

    @property
    def is_dora(self) -> bool:
        """A magnitude for each output beside the adapter."""
        return self in (MemoryMethod.DORA, MemoryMethod.QDORA)


class AdapterDtype(enum.Enum):
    """Dtype of the adapters' weights."""

    AUTO = "auto"
    """TRL's: bf16 on quantized weights, fp32 otherwise."""
    BF16 = "bf16"
    FP32 = "fp32"


class LossHead(enum.Enum):
    """Which code computes the loss."""

    FUSED = "trl"
    """TRL's: logits in tiles."""
    FULL_LOGITS = "hf"
    """transformers': all logits, in fp32."""


class MemoryOptimizer(enum.Enum):
    """Optimizer, as far as its memory differs."""

    ADAMW_FUSED = "adamw_fused"
    ADAMW_FOREACH = "adamw_foreach"
    ADAMW_ROUNDED = "adamw_rounded"
    """Our own, which rounds stochastically, a slice at a time."""
    ADAMW_8BIT = "bnb8"
    ADAMW_8BIT_PAGED = "paged8"
    ADAFACTOR = "adafactor"
    """transformers' own, without a first moment."""
    SGD_PLAIN = "sgd_plain"
    """Without momentum, which is what Hugging Face's Trainer makes of "sgd", with weight decay."""


ALL_LINEAR = "all-linear"


@attrs.frozen(cache_hash=True)
class TrainingShape:
    """One training process on one card, or on the CPU."""

    device: Device = Device.CUDA
    method: MemoryMethod = MemoryMethod.LORA
    objective: Objective = Objective.SFT
    rank: int = 16
    targets: tuple[str, ...] = (ALL_LINEAR,)
    """Names of the adapted linear layers."""
    adapter_dtype: AdapterDtype = AdapterDtype.AUTO
    dropout: bool = False
    """Some of each adapter's input is dropped."""
    sequence: int = 2048
    """Tokens of each sequence, padding included."""
    batch: int = 1
    """Rows of a micro-step: sequences, or pairs of them."""
    accumulation: int = 1
    """Micro-steps of an optimizer step."""
    checkpoints: bool = True
    """Layers' activations are recomputed (non-reentrant gradient checkpointing)."""
    attention: AttentionKernel = AttentionKernel.FLASH
    loss: LossHead = LossHead.FUSED
    """For SFT only; judged answers always go through the fused head."""
    optimizer: MemoryOptimizer = MemoryOptimizer.ADAMW_FUSED
    fp32_embedding_states: bool = False
    """8-bit AdamW keeps the state of embeddings in fp32, as Hugging Face's Trainer tells it to."""
    offload: bool = False
    """Full fine-tuning with weights, gradients and optimizer in host memory, where ``fp32_weights`` is about them."""
    autocast: bool = True
    """bf16 autocast around the forward pass; CUDA only."""
    fp32_weights: bool = False
    """Weights that are not quantized stand in fp32 (mixed precision, or no bf16 at all) instead of bf16."""
    float8_layers: tuple[str, ...] = ()
    """Names of the linear layers whose frozen weights stand in float8, multiplied by ``torch._scaled_mm``."""
    double_quantization: bool = True
    """Of weights in 4 bits; without it where they come so (``FourBit.PLAIN``)."""
    kbit_prepared: bool = False
    """``prepare_model_for_kbit_training`` cast what is not quantized to fp32."""
    pad_mask: bool = False
    """The batch has a padding mask."""
    packed: bool = False
    """Positions begin anew inside of sequences; SDPA then needs a mask, and every sequence its own rotary embedding."""
    num_targets: int | None = None
    """Learned tokens of a micro-step, which alone go through a fused head; None: all but each sequence's first, as
    plans count them."""
    keep_outputs: bool = False
    """The model's outputs (its logits) live until backward is over."""
    keep_gradients: bool = False
    """Gradients are zeroed in place instead of freed."""
    workspace_bytes: int = 17_039_360
    """cuBLAS: two handles of 8.125 MiB; 32 MiB each on Hopper. CUDA only."""

    @property
    def sequences(self) -> int:
        """Sequences of a forward pass."""
        return self.batch * self.objective.sequences_per_row

    @property
    def keeps_gradients(self) -> bool:
        """Gradients are on the card from one micro-step to the next."""
        return (self.accumulation > 1 or self.keep_gradients) and not self.offload

    @property
    def adapter_itemsize(self) -> int:
        """Bytes of an adapter's element."""
        if self.adapter_dtype is AdapterDtype.AUTO:
            return 2 if self.method.is_quantized else 4
        return 2 if self.adapter_dtype is AdapterDtype.BF16 else 4

    @property
    def weight_itemsize(self) -> int:
        """Bytes of an element of the embeddings, norms and head."""
        return 4 if self.fp32_weights or self.kbit_prepared else 2
