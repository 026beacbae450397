"""Steps of small models of every family on the CPU, measured and predicted.

Flash attention, autocast and the fused head have no like on the CPU, so steps run with eager attention, in bf16 and
with transformers' own loss.
"""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.storage_tracker import measure
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from backprop.plan.facts.families import family_of
from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.predict import predict
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import AdapterDtype, LossHead, MemoryMethod, TrainingShape

NUM_TOKENS = 512
NUM_EXPERTS = 8
EXPERT_WIDTH = 64
HIDDEN = 128


def config_of(family: str, **changes: object) -> Any:
    """A configuration of four small layers; of experts, two for each token."""
    experts = {
        "intermediate_size": EXPERT_WIDTH,
        "moe_intermediate_size": EXPERT_WIDTH,
        "num_experts_per_tok": 2,
        "num_local_experts" if family == "mixtral" else "num_experts": NUM_EXPERTS,
        "output_router_logits": True,
    }
    sizes = {
        "hidden_size": HIDDEN,
        "intermediate_size": 320,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "vocab_size": 512,
        "pad_token_id": 0,
        "attn_implementation": "eager",
        **(experts if family_of(family).experts else {}),
    }
    return AutoConfig.for_model(family, **{**sizes, **changes})


def model_of(config: Any) -> Any:
    """A model with random weights in bf16."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).train()


def measured_bytes(config: Any, training: TrainingShape) -> int:
    """Peak of a forward and a backward of transformers' and PEFT's model, its weights included."""
    model = model_of(config)
    if training.method is MemoryMethod.LORA:
        targets = [linear.name for linear in MemoryShape.from_config(config.to_dict()).linear_layers]
        model = get_peft_model(model, LoraConfig(r=training.rank, target_modules=targets), autocast_adapter_dtype=False)
    if training.checkpoints:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    tokens = torch.randint(1, 512, (1, training.sequence))

    def step() -> None:
        model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()

    return measure(step, alive=[*model.parameters(), *model.buffers(), tokens]).peak_bytes


def predicted_bytes(config: Any, training: TrainingShape) -> int:
    """The same as the plan has it, without the optimizer's state."""
    plan = predict(MemoryShape.from_config(config.to_dict()), training)
    return plan.peak_bytes - sum(term.bytes for term in plan.terms if term.name is TermName.OPTIMIZER)


def on_cpu(method: MemoryMethod, *, checkpoints: bool) -> TrainingShape:
    """What the CPU can run of a training."""
    return TrainingShape(
        method=method,
        rank=8,
        adapter_dtype=AdapterDtype.BF16,
        sequence=NUM_TOKENS,
        checkpoints=checkpoints,
        attention=AttentionKernel.EAGER,
        loss=LossHead.FULL_LOGITS,
        autocast=False,
        workspace_bytes=0,
    )
