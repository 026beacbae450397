"""What tells one training step's tape from another's: everything discrete. Sizes come later, so tapes are shared."""

from __future__ import annotations

import functools

import attrs

from backprop.plan.facts.families import Family, Window, family_of
from backprop.plan.memory.attention import AttentionKernel, usable_kernel
from backprop.plan.memory.device import Device
from backprop.plan.memory.objective import Objective
from backprop.plan.memory.offload import COMPUTE_ITEMSIZE
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.static import is_target
from backprop.plan.memory.training import LossHead, MemoryMethod, TrainingShape


@attrs.frozen(cache_hash=True)
class StepStructure:
    """The key of a tape."""

    num_layers: int
    """At most three: the first, the last, and one that stands for all between. With offload a fourth, the last but one:
    it is the first whose backward finds the gradients of the layer behind it still on their way to the host."""
    targets: frozenset[str]
    is_full: bool
    is_quantized: bool
    is_dora: bool
    adapter_itemsize: int
    dropout: bool
    weight_itemsize: int
    is_offloaded: bool
    host_itemsize: int
    """Of the weights in host memory, where they are offloaded."""
    checkpoints: bool
    kernel: AttentionKernel
    has_full_mask: bool
    has_sliding_mask: bool
    is_batched: bool
    objective: Objective
    is_one_row: bool
    loss: LossHead
    device: Device
    autocast: bool
    double_quantization: bool
    keep_outputs: bool
    has_gradients: bool
    is_grouped: bool
    has_one_kv_head: bool
    is_tied: bool
    """Of a matrix that is trained; others are on no tape."""
    has_qkv_bias: bool
    """As of the others, False where a bias leaves no trace."""
    has_output_bias: bool
    has_mlp_bias: bool
    family: Family
    """Without what only says how its configuration is read."""
    has_experts: bool
    soft_caps_attention: bool
    soft_caps_logits: bool


def structure_of(model: MemoryShape, training: TrainingShape) -> StepStructure:
    """The discrete part of a model and its training."""
    kernel = usable_kernel(training.attention, soft_caps=model.soft_caps_attention)
    has_full_mask, has_sliding_mask = _masks(model, training, kernel)
    is_full = training.method is MemoryMethod.FULL
    weight_itemsize = COMPUTE_ITEMSIZE if training.offload else training.weight_itemsize
    # A frozen bias is seen where autocast casts it, and where DoRA takes it off a result.
    sees_biases = is_full or training.method.is_dora or weight_itemsize != COMPUTE_ITEMSIZE
    return StepStructure(
        num_layers=min(model.num_layers, 4 if training.offload else 3),
        targets=frozenset(linear.name for linear in model.linear_layers if is_target(training, linear.name)),
        is_full=is_full,
        is_quantized=training.method.is_quantized,
        is_dora=training.method.is_dora,
        adapter_itemsize=training.adapter_itemsize,
        dropout=training.dropout and not is_full,
        weight_itemsize=weight_itemsize,
        is_offloaded=training.offload,
        host_itemsize=training.weight_itemsize,
        checkpoints=training.checkpoints,
        kernel=kernel,
        has_full_mask=has_full_mask,
        has_sliding_mask=has_sliding_mask,
        is_batched=training.sequences > 1 and kernel is AttentionKernel.EAGER,
        objective=training.objective,
        is_one_row=training.objective is not Objective.SFT and training.batch == 1,
        loss=training.loss,
        device=training.device,
        autocast=training.autocast and training.device is Device.CUDA,
        double_quantization=training.double_quantization,
        keep_outputs=training.keep_outputs,
        has_gradients=training.keeps_gradients,
        has_one_kv_head=model.num_kv_heads == 1,
        is_grouped=model.num_kv_heads < model.num_heads,
        is_tied=is_full and model.tie_word_embeddings,
        has_qkv_bias=sees_biases and model.has_qkv_bias,
        has_output_bias=sees_biases and model.has_output_bias,
        has_mlp_bias=sees_biases and model.has_mlp_bias,
        family=_code_of(model.model_type),
        has_experts=model.experts is not None,
        soft_caps_attention=model.soft_caps_attention,
        soft_caps_logits=model.soft_caps_logits,
    )


@functools.lru_cache(maxsize=256)
def _code_of(model_type: str) -> Family:
    """What a tape can see of a family, so that families that differ elsewhere share theirs."""
    return attrs.evolve(
        family_of(model_type),
        qkv_bias=False,
        reads_attention_bias=False,
        reads_mlp_bias=False,
        reads_soft_caps=False,
        window=Window.NONE,
        asks_for_window=False,
        experts=None,
    )


def _masks(model: MemoryShape, training: TrainingShape, kernel: AttentionKernel) -> tuple[bool, bool]:
    """Whether the model makes a mask for layers that see everything, and one for layers with a window.

    Flash attention needs none; sdpa needs one for padding, for packed rows, and for a window that the sequence fills
    (transformers/masking_utils.py, ``_ignore_causal_mask_sdpa``).
    """
    if kernel is AttentionKernel.FLASH:
        return False, False
    has_window = model.sliding_window is not None
    sees_all = not has_window or model.family.window is Window.SOME
    if kernel is AttentionKernel.EAGER:
        return sees_all, has_window
    fills_window = model.sliding_window is not None and training.sequence >= model.sliding_window
    is_masked = training.pad_mask or training.packed
    return sees_all and is_masked, has_window and (is_masked or fills_window)
