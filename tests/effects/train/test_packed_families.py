"""Every family whose rows are packed keeps them apart: what stands before a row in its sequence changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from backprop.plan.training.packing import KEEP_ROWS_APART

SHAPE: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
MIXTURES = ("mixtral", "olmoe")
RECURRENT: dict[str, dict[str, Any]] = {
    "lfm2": {"full_attn_idxs": [1, 3]},
    "qwen3_5_text": {"linear_num_key_heads": 2, "linear_num_value_heads": 4},
}


def leak(family: str, **more: Any) -> float:
    """By how much the scores of a row change when another stands before it in its sequence, in their deviation."""
    torch.manual_seed(0)
    experts = EXPERTS if "moe" in family or family in MIXTURES else {}
    model: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**SHAPE, **experts, **more})).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    before, row = torch.randint(3, 259, (1, 11)), torch.randint(3, 259, (1, 9))
    positions = torch.cat([torch.arange(11), torch.arange(9)])[None]
    with torch.no_grad():
        packed = model(input_ids=torch.cat([before, row], 1), position_ids=positions, use_cache=False).logits[:, 11:]
        alone = model(input_ids=row, use_cache=False).logits
    return float((packed - alone).abs().max() / alone.std())


@pytest.mark.parametrize("family", sorted(KEEP_ROWS_APART))
def test_a_row_is_learned_as_if_it_stood_alone(family: str) -> None:
    assert leak(family) < 1e-4


@pytest.mark.parametrize("family", RECURRENT)
def test_what_carries_a_state_on_would_be_found(family: str) -> None:
    assert family not in KEEP_ROWS_APART
    assert leak(family, **RECURRENT[family]) > 0.1
