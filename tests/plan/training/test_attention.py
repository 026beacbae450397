"""Which code computes attention."""

from __future__ import annotations

import pytest

from backprop.plan.facts.architectures import ARCHITECTURES, facts_from_config
from backprop.plan.facts.model import ModelSource
from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.training.arguments import load_arguments
from backprop.plan.training.attention import plan_attention
from tests.plan.training.asking import World, roomy


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_only_soft_capped_scores_are_computed_one_by_one(name: str) -> None:
    facts = facts_from_config(ARCHITECTURES[name], name=name, source=ModelSource.TABLE)
    expected = AttentionKernel.EAGER if name.startswith("google/gemma-2-") else AttentionKernel.SDPA
    assert plan_attention(facts).value is expected


@pytest.mark.parametrize(("name", "kernel"), [("google/gemma-2-2b", "eager"), ("google/gemma-2b", "sdpa")])
def test_the_model_is_loaded_with_the_kernel_whose_memory_was_counted(name: str, kernel: str) -> None:
    plan = World(roomy(24)).plan("--model", name)
    assert load_arguments(plan)["attn_implementation"] == kernel


def test_scores_in_memory_make_long_sequences_dear() -> None:
    """Doubling the tokens again adds twice as much where memory is linear in them, four times where it is quadratic."""

    def growth(name: str) -> float:
        flags = ("--model", name, "--no-packing", "--batch-size", "1", "--gradient-checkpointing")
        peaks = []
        for length in (2048, 4096, 8192):
            memory = World(roomy(24), ((length, 100),)).plan(*flags, "--max-seq-length", str(length)).memory
            assert memory is not None
            peaks.append(memory.peak_bytes)
        return (peaks[2] - peaks[1]) / (peaks[1] - peaks[0])

    assert growth("google/gemma-2b") < 2.5
    assert growth("google/gemma-2-2b") > 3
