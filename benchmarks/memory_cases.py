"""The trainings whose memory is measured: small models, real in all but their size, each strained in another moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.device import Device
from backprop.plan.memory.evaluation import predict_evaluation
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.memory.predict import predict
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.training import MemoryMethod, MemoryOptimizer, TrainingShape

_SPECIAL_IDS = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 4000,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
    **_SPECIAL_IDS,
}
QWEN2 = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "vocab_size": 3000,
    "hidden_size": 256,
    "intermediate_size": 640,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "tie_word_embeddings": True,
    **_SPECIAL_IDS,
}
QWEN3 = {
    **QWEN2,
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "num_key_value_heads": 2,
    "head_dim": 96,
}


@attrs.frozen
class Case:
    """A model, how it is trained, and the rows of every micro-step."""

    name: str
    config: Mapping[str, Any]
    shape: TrainingShape
    lengths: tuple[int, ...]
    """Tokens of each row; all rows together make one micro-step."""
    learned: float = 1.0
    """Share of each row's last tokens that is learned."""

    @property
    def predicted(self) -> MemoryPlan:
        """The prediction for a training step."""
        num_targets = sum(map(self._num_targets, self.lengths))
        return predict(MemoryShape.from_config(self.config), attrs.evolve(self.shape, num_targets=num_targets))

    @property
    def predicted_evaluation(self) -> MemoryPlan:
        """The prediction for its rows as held-out rows, of which the first batch holds the longest."""
        num_targets = sum(map(self._num_targets, self.lengths[: self.shape.batch]))
        model = MemoryShape.from_config(self.config)
        return predict_evaluation(model, self.shape, longest=max(self.lengths), num_targets=num_targets)

    def _num_targets(self, length: int) -> int:
        """The first token of a row is predicted from nothing."""
        return min(round(self.learned * length), length - 1)


_CPU = TrainingShape(
    device=Device.CPU, attention=AttentionKernel.SDPA, fp32_weights=True, checkpoints=False, sequence=256
)
CASES = (
    Case("Llama, LoRA on all, one row", LLAMA, attrs.evolve(_CPU, sequence=384), (384,), learned=0.4),
    Case(
        "Llama, LoRA q,v, four rows, recomputed",
        LLAMA,
        attrs.evolve(
            _CPU,
            rank=8,
            targets=("q_proj", "v_proj"),
            sequence=128,
            batch=4,
            pad_mask=True,
            checkpoints=True,
            accumulation=2,
        ),
        (128, 100, 80, 30),
    ),
    Case(
        "Qwen2 in bf16, LoRA on all, packed",
        QWEN2,
        attrs.evolve(_CPU, sequence=128, fp32_weights=False, packed=True),
        (64, 32, 32),
    ),
    Case(
        "Qwen2, LoRA on two, packed, recomputed",
        QWEN2,
        attrs.evolve(_CPU, rank=32, targets=("o_proj", "up_proj"), packed=True, batch=2, checkpoints=True),
        (160, 96, 160, 96),
        learned=0.5,
    ),
    Case(
        "Qwen3, LoRA on all, few targets, recomputed",
        QWEN3,
        attrs.evolve(_CPU, rank=64, sequence=512, checkpoints=True),
        (512,),
        learned=0.02,
    ),
    Case(
        "Llama, full, plain AdamW",
        {**LLAMA, "num_key_value_heads": 8, "vocab_size": 12000},
        attrs.evolve(_CPU, method=MemoryMethod.FULL, sequence=32, optimizer=MemoryOptimizer.ADAMW_FOREACH),
        (32,),
    ),
)
