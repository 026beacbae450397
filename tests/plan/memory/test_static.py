"""What lives through the whole step, against PEFT and transformers on the meta device."""

from __future__ import annotations

import attrs
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config, Qwen3Config

from backprop.plan.facts.architectures import ARCHITECTURES
from backprop.plan.facts.parameters import parameters_of
from backprop.plan.memory.network import decoder_layer
from backprop.plan.memory.offload import parameters
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.static import quantization_state_bytes, static_bytes, trainable_parameters
from backprop.plan.memory.structure import structure_of
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import MemoryMethod, TrainingShape

COMMON = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
    "pad_token_id": 0,
}
CONFIGS = (LlamaConfig(**COMMON), Qwen3Config(**COMMON, head_dim=64), Phi3Config(**COMMON))


def of_a_step(shape: MemoryShape, training: TrainingShape) -> dict[TermName, int]:
    return static_bytes(shape, training, trainable_parameters(shape, training))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
@pytest.mark.parametrize("method", [MemoryMethod.LORA, MemoryMethod.DORA, MemoryMethod.FULL])
def test_trainable_parameters_are_those_of_the_libraries(config: LlamaConfig, method: MemoryMethod) -> None:
    shape = MemoryShape.from_config(config.to_dict())
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        if method is not MemoryMethod.FULL:
            model = get_peft_model(
                model, LoraConfig(r=8, target_modules="all-linear", use_dora=method.is_dora, init_lora_weights=False)
            )
    expected = sorted(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    groups = trainable_parameters(shape, TrainingShape(method=method, rank=8))
    assert sorted(group.numel for group in groups for _ in range(group.count)) == expected


def test_nested_quantization_state_is_an_eighth_of_a_bit_and_a_code() -> None:
    numel = 4096 * 4096
    nested, plain = (quantization_state_bytes(numel, nested=nested) for nested in (True, False))
    assert plain == 4 * numel // 64 + 512
    assert nested == numel // 64 + 4 * numel // 64 // 256 + 1024 + 512 + 512


def test_gradients_live_through_the_step_only_when_they_are_kept() -> None:
    shape = MemoryShape.from_config(CONFIGS[0].to_dict())
    once, twice = (of_a_step(shape, TrainingShape(accumulation=count)) for count in (1, 2))
    assert TermName.GRADIENTS not in once
    assert twice[TermName.GRADIENTS] == twice[TermName.TRAINABLE_WEIGHTS]


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
@pytest.mark.parametrize(("qkv", "output", "mlp"), [(False, False, False), (True, False, False), (False, True, True)])
def test_the_tape_has_the_tensors_that_are_counted(name: str, qkv: bool, output: bool, mlp: bool) -> None:
    shape = MemoryShape.from_config(ARCHITECTURES[name])
    shape = attrs.evolve(shape, has_qkv_bias=qkv, has_output_bias=output, has_mlp_bias=mlp)
    layer = decoder_layer(structure_of(shape, TrainingShape(method=MemoryMethod.FULL)))
    alone = 2 if shape.tie_word_embeddings else 3  # embeddings, last norm, head
    counted = sum(tensors.count for tensors in parameters_of(shape)) - alone
    assert counted == shape.num_layers * len(list(parameters(layer)))
