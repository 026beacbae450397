"""Every family's layers: a step on the CPU against the prediction, to a thousandth where nothing is rounded up."""

from __future__ import annotations

import pytest

from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.structure import structure_of
from backprop.plan.memory.training import MemoryMethod, TrainingShape
from tests.plan.memory.steps import config_of, measured_bytes, on_cpu, predicted_bytes

CHANGES: dict[str, dict[str, object]] = {
    "llama": {"attention_bias": True, "mlp_bias": True},
    "mistral": {},
    "qwen2": {},
    "qwen3": {},
    "smollm3": {},
    "granite": {"embedding_multiplier": 2.0, "residual_multiplier": 0.5, "logits_scaling": 2.0},
    "phi3": {"partial_rotary_factor": 0.75},
    "olmo2": {},
    "gemma": {},
    "gemma2": {},
    "gemma3_text": {"num_hidden_layers": 6},
}
LOOSE = {"gemma3_text": 0.005}
"""It turns by other angles in layers with a window, whose cosines and sines are not counted apart."""


@pytest.mark.parametrize(("method", "checkpoints"), [(MemoryMethod.LORA, True), (MemoryMethod.FULL, False)])
@pytest.mark.parametrize("family", CHANGES)
def test_a_step_takes_what_is_predicted(family: str, method: MemoryMethod, checkpoints: bool) -> None:
    config = config_of(family, **CHANGES[family])
    training = on_cpu(method, checkpoints=checkpoints)
    expected = measured_bytes(config, training)
    assert predicted_bytes(config, training) == pytest.approx(expected, rel=LOOSE.get(family, 0.001))


@pytest.mark.parametrize(
    ("family", "kernel", "padded", "sequence", "masks"),
    [
        ("llama", AttentionKernel.FLASH, True, 512, (False, False)),
        ("llama", AttentionKernel.SDPA, False, 512, (False, False)),
        ("llama", AttentionKernel.SDPA, True, 512, (True, False)),
        ("mistral", AttentionKernel.SDPA, False, 127, (False, False)),
        ("mistral", AttentionKernel.SDPA, False, 128, (False, True)),
        ("mistral", AttentionKernel.EAGER, False, 127, (False, True)),
        ("gemma3_text", AttentionKernel.SDPA, False, 127, (False, False)),
        ("gemma3_text", AttentionKernel.SDPA, False, 128, (False, True)),
        ("gemma3_text", AttentionKernel.SDPA, True, 127, (True, True)),
        ("gemma3_text", AttentionKernel.EAGER, False, 127, (True, True)),
    ],
)
def test_a_window_needs_a_mask_once_the_sequence_fills_it(
    family: str, kernel: AttentionKernel, padded: bool, sequence: int, masks: tuple[bool, bool]
) -> None:
    shape = MemoryShape.from_config(config_of(family, sliding_window=128).to_dict())
    structure = structure_of(shape, TrainingShape(attention=kernel, pad_mask=padded, sequence=sequence))
    assert (structure.has_full_mask, structure.has_sliding_mask) == masks
