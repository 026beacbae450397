"""An adapter as a GGUF file: what is folded into B, and what such a file cannot say."""

from __future__ import annotations

from typing import Any

import pytest

from backprop.plan.decision import Refused
from backprop.plan.export.gguf.adapter import LoraPlan, plan_lora
from backprop.plan.export.gguf.names import Change
from backprop.plan.export.sources import AdapterFacts
from tests.plan.export.test_merge import Q_MODULE, adapter, embedding, low_rank

CONFIG = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 1,
    "intermediate_size": 16,
    "vocab_size": 10,
    "tie_word_embeddings": True,
}


def planned(adapter: AdapterFacts, **config: Any) -> LoraPlan | Refused:
    return plan_lora(adapter, {**CONFIG, **config}, name="n")


@pytest.mark.parametrize(
    ("config", "factor"),
    [
        ({}, 1.0),
        ({"use_rslora": True}, 2.0),
        ({"alpha_pattern": {"q_proj": 2}}, 0.25),
    ],
)
def test_what_llama_cpp_does_not_multiply_by_is_folded_into_b(config: dict[str, Any], factor: float) -> None:
    plan = planned(adapter(*low_rank(Q_MODULE), **config))
    assert isinstance(plan, LoraPlan)
    a, b = plan.tensors
    assert (a.name, a.factor, a.change) == ("blk.0.attn_q.weight.lora_a", 1.0, Change.NONE)
    assert (b.name, b.factor, b.change) == ("blk.0.attn_q.weight.lora_b", factor, Change.PERMUTE_QUERY)


def test_a_change_of_a_tied_head_or_of_the_embedding_is_refused() -> None:
    head = adapter(*low_rank("lm_head", out=10))
    for found in (planned(head), planned(adapter(*embedding()))):
        assert isinstance(found, Refused)
        assert found.problems[0].code == "INPUT_EXPORT_UNSUPPORTED"
    own = planned(head, tie_word_embeddings=False)
    assert isinstance(own, LoraPlan)
    assert [tensor.name for tensor in own.tensors] == ["output.weight.lora_a", "output.weight.lora_b"]
