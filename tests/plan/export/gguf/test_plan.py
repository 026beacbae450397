"""What stands against a GGUF file is found before any work, and named."""

from __future__ import annotations

from typing import Any

import pytest

from backprop.plan.decision import Refused
from backprop.plan.export.gguf.architectures import ARCHITECTURES
from backprop.plan.export.gguf.metadata import find
from backprop.plan.export.gguf.names import expected_modules
from backprop.plan.export.gguf.plan import GgufPlan, Stored, check_family, plan_gguf
from backprop.plan.settings.verbs.export import Quantization
from tests.plan.export.gguf.test_vocabulary import BYTE_LEVEL, source

CONFIG = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 6,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 512,
    "head_dim": 64,
    "query_pre_attn_scalar": 64,
    "sliding_window": 16,
}


def stored(model_type: str) -> list[Stored]:
    modules = expected_modules(ARCHITECTURES[model_type], 2)
    return [Stored(f"{m}.weight", (256,) if m.endswith(("norm", "layernorm")) else (6, 256)) for m in modules]


def plan(model_type: str = "llama", tensors: list[Stored] | None = None, **changes: Any) -> GgufPlan | Refused:
    config = {"model_type": model_type, **CONFIG, **changes}
    given = stored(model_type) if tensors is None and model_type in ARCHITECTURES else tensors or []
    return plan_gguf(config, given, source(BYTE_LEVEL), name="tiny", is_tied=True, quantization=Quantization.Q8_0)


def reason(refused: GgufPlan | Refused) -> str:
    assert isinstance(refused, Refused)
    return " ".join(problem.message for problem in refused.problems)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_every_family_has_a_plan_whose_tensors_follow_each_other(model_type: str) -> None:
    made = plan(model_type)
    assert isinstance(made, GgufPlan), made
    ends = [offset + tensor.num_bytes for offset, tensor in zip(made.offsets(), made.tensors, strict=True)]
    assert all(end <= begin for end, begin in zip(ends, made.offsets()[1:], strict=False))
    assert all(offset % 32 == 0 for offset in made.offsets())
    assert made.data_bytes >= ends[-1]


def test_a_family_that_is_not_known_is_refused_with_the_way_out() -> None:
    refused = plan("mamba")
    assert isinstance(refused, Refused)
    assert refused.problems[0].code == "INPUT_EXPORT_UNSUPPORTED"
    assert "BACKPROPAGATE_LLAMA_CPP_PATH" in refused.problems[0].hint
    assert check_family("mamba") == refused.problems[0]
    assert check_family("qwen3") is None


def test_a_missing_tensor_is_named() -> None:
    assert "model.layers.1.mlp.up_proj" in reason(
        plan(tensors=[t for t in stored("llama") if "layers.1.mlp.up" not in t.name])
    )


def test_a_tensor_without_a_place_is_named() -> None:
    strange = Stored("model.layers.0.mlp.experts.weight", (6, 256))
    assert strange.name in reason(plan(tensors=[*stored("llama"), strange]))


@pytest.mark.parametrize(
    ("model_type", "changes", "words"),
    [
        ("llama", {"hidden_act": "relu"}, "relu"),
        ("llama", {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "dynamic"),
        ("qwen2", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "llama3"),
        ("qwen2", {"head_dim": 128}, "4 heads of 128"),
        ("qwen3", {"partial_rotary_factor": 0.5}, "32 of the 64"),
        ("phi3", {"rope_parameters": {"rope_type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}}, "1 long"),
        ("gemma2", {"query_pre_attn_scalar": 128}, "scaled for 128"),
        ("gemma3_text", {"layer_types": ["full_attention", "full_attention"]}, "window"),
        ("smollm3", {"no_rope_layers": [1, 0]}, "every fourth"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    model_type: str, changes: dict[str, Any], words: str
) -> None:
    assert words in reason(plan(model_type, **changes))


def test_a_head_of_its_own_is_refused_where_the_family_has_none() -> None:
    head = [*stored("gemma2"), Stored("lm_head.weight", (6, 256))]
    config = {"model_type": "gemma2", **CONFIG}
    made = plan_gguf(config, head, source(BYTE_LEVEL), name="t", is_tied=False, quantization=Quantization.F16)
    assert "no head besides its embedding" in reason(made)


def test_a_family_that_needs_a_head_gets_the_embedding_twice() -> None:
    made = plan("olmo2")
    assert isinstance(made, GgufPlan)
    sources = {tensor.name: tensor.source for tensor in made.tensors}
    assert sources["output.weight"] == sources["token_embd.weight"] == "model.embed_tokens.weight"


def test_a_window_that_llama_cpp_ignores_is_a_warning() -> None:
    made = plan("mistral")
    assert isinstance(made, GgufPlan)
    assert "last 16 tokens" in made.warnings[0].message
    assert plan("llama", sliding_window=None) == plan("llama", sliding_window=None)


def test_both_spellings_of_a_rotary_base_are_read() -> None:
    older, newer = plan(rope_theta=5e5), plan(rope_parameters={"rope_type": "default", "rope_theta": 5e5})
    assert isinstance(older, GgufPlan)
    assert isinstance(newer, GgufPlan)
    assert find(older.metadata, "llama.rope.freq_base") == find(newer.metadata, "llama.rope.freq_base") == 5e5
