"""Every tensor of every family finds the place that the gguf package's own table names."""

from __future__ import annotations

import gguf
import pytest

from backprop.plan.export.gguf.architectures import ARCHITECTURES, architecture_of
from backprop.plan.export.gguf.names import Change, Place, expected_modules, module_place, place_of


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_names_are_those_of_the_gguf_package(model_type: str) -> None:
    architecture = ARCHITECTURES[model_type]
    number = next(n for n, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture.name)
    table = gguf.get_tensor_name_map(number, 3)
    for module in expected_modules(architecture, 3):
        assert module_place(module, architecture) == table.get_name(module), module


def test_queries_and_keys_are_permuted_where_rotary_pairs_stand_together() -> None:
    llama, qwen = architecture_of("llama"), architecture_of("qwen2")
    assert llama is not None
    assert qwen is not None
    name = "model.layers.2.self_attn.k_proj.bias"
    assert place_of(name, llama) == Place("blk.2.attn_k.bias", Change.PERMUTE_KEY)
    assert place_of(name, qwen) == Place("blk.2.attn_k.bias", Change.NONE)


def test_every_norm_of_gemma_gets_one_added() -> None:
    gemma = architecture_of("gemma3_text")
    assert gemma is not None
    for module in ("model.norm", "model.layers.0.self_attn.q_norm", "model.layers.0.input_layernorm"):
        found = place_of(f"{module}.weight", gemma)
        assert found is not None
        assert found.change is Change.ADD_ONE


@pytest.mark.parametrize("name", ["model.layers.0.mlp.gate.weight", "visual.patch.weight", "model.norm"])
def test_a_tensor_that_the_family_does_not_have_has_no_place(name: str) -> None:
    llama = architecture_of("llama")
    assert llama is not None
    assert place_of(name, llama) is None


def test_a_bias_that_llama_cpp_does_not_load_has_no_place() -> None:
    qwen = architecture_of("qwen2")
    assert qwen is not None
    assert place_of("model.layers.0.self_attn.o_proj.bias", qwen) is None
