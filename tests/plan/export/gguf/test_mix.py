"""Each tensor gets the type that llama-quantize gives it."""

from __future__ import annotations

import attrs
import pytest

from backprop.plan.export.gguf.ggml import GgmlType
from backprop.plan.export.gguf.mix import MixFacts, has_more_bits, type_of
from backprop.plan.settings.verbs.export import Quantization

LLAMA = MixFacts(num_layers=32, num_heads=32, num_kv_heads=8, architecture="llama", is_tied=False)
SHAPE = (1024, 1024)


def kind(name: str, quantization: Quantization, facts: MixFacts = LLAMA, shape: tuple[int, ...] = SHAPE) -> str:
    return type_of(name, shape, quantization, facts).name


def test_the_first_and_last_eighth_and_every_third_layer_between_have_more_bits() -> None:
    more = [layer for layer in range(32) if has_more_bits(layer, 32)]
    assert more == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        (Quantization.F16, ["F16"] * 7),
        (Quantization.Q8_0, ["Q8_0"] * 7),
        (Quantization.Q4_0, ["Q4_0", "Q4_0", "Q4_0", "Q4_0", "Q4_0", "Q4_0", "Q6_K"]),
        (Quantization.Q4_K_M, ["Q4_K", "Q4_K", "Q6_K", "Q4_K", "Q6_K", "Q4_K", "Q6_K"]),
        (Quantization.Q5_K_M, ["Q5_K", "Q5_K", "Q6_K", "Q5_K", "Q6_K", "Q5_K", "Q6_K"]),
        (Quantization.Q2_K, ["Q2_K", "Q2_K", "Q4_K", "Q3_K", "Q3_K", "Q2_K", "Q6_K"]),
    ],
)
def test_every_quantization_mixes_types_in_its_own_way(quantization: Quantization, expected: list[str]) -> None:
    names = ("token_embd", "blk.0.attn_q", "blk.0.attn_v", "blk.0.attn_output", "blk.0.ffn_down", "blk.0.ffn_up")
    assert [kind(f"{name}.weight", quantization) for name in (*names, "output")] == expected


def test_layers_in_between_have_the_plain_type() -> None:
    assert kind("blk.4.attn_v.weight", Quantization.Q4_K_M) == "Q4_K"
    assert kind("blk.4.ffn_down.weight", Quantization.Q5_K_M) == "Q5_K"


def test_a_tied_embedding_has_the_type_of_a_head() -> None:
    tied = attrs.evolve(LLAMA, is_tied=True)
    assert kind("token_embd.weight", Quantization.Q4_K_M, tied) == "Q6_K"
    assert kind("token_embd.weight", Quantization.Q8_0, tied) == "Q8_0"


def test_norms_biases_and_factors_stay_whole() -> None:
    for name, shape in (("blk.0.attn_norm.weight", (64,)), ("blk.0.attn_q.bias", (64,)), ("rope_freqs.weight", (32,))):
        assert kind(name, Quantization.Q4_K_M, shape=shape) == "F32"


@pytest.mark.parametrize(
    ("row", "quantization", "expected"),
    [
        (576, Quantization.Q4_K_M, "Q5_0"),
        (576, Quantization.Q5_K_M, "Q5_1"),
        (576, Quantization.Q2_K, "Q4_0"),
        (576, Quantization.Q8_0, "Q8_0"),
        (48, Quantization.Q4_K_M, "F16"),
        (48, Quantization.Q8_0, "F16"),
    ],
)
def test_rows_that_are_no_whole_blocks_fall_back(row: int, quantization: Quantization, expected: str) -> None:
    assert kind("blk.5.attn_q.weight", quantization, shape=(64, row)) == expected


def test_a_head_whose_rows_are_no_whole_blocks_has_eight_bits() -> None:
    assert kind("output.weight", Quantization.Q4_K_M, shape=(64, 576)) == "Q8_0"


def test_values_shared_by_few_heads_have_fewer_bits_at_two_bits() -> None:
    shared_by_two = attrs.evolve(LLAMA, num_kv_heads=16)
    assert kind("blk.9.attn_v.weight", Quantization.Q2_K, shared_by_two) == "Q3_K"


def test_the_shared_values_of_a_70b_model_have_five_bits() -> None:
    large = attrs.evolve(LLAMA, num_layers=80, num_heads=64)
    assert kind("blk.12.attn_v.weight", Quantization.Q4_K_M, large) == "Q6_K"
    assert kind("blk.13.attn_v.weight", Quantization.Q4_K_M, large) == "Q5_K"
    assert kind("blk.13.attn_v.weight", Quantization.Q4_K_M, attrs.evolve(large, num_kv_heads=64)) == "Q4_K"


def test_without_ggmls_routine_q4_0_needs_no_k_quant() -> None:
    alone = attrs.evolve(LLAMA, has_k_quants=False, is_tied=True)
    assert kind("token_embd.weight", Quantization.Q4_0, alone) == "Q8_0"


@pytest.mark.parametrize("type", list(GgmlType))
def test_sizes_of_blocks_are_those_of_the_gguf_package(type: GgmlType) -> None:
    import gguf

    assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(type.number)] == (type.block_size, type.block_bytes)
    assert gguf.GGMLQuantizationType(type.number).name == type.name
