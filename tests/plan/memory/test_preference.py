"""ORPO, SimPO and KTO against the allocations of the trainer that carries them out."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from transformers import LlamaConfig

from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.objective import Objective
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.memory.predict import predict
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import LossHead, TrainingShape
from tests.plan.memory.test_predict import SMALL as LLAMA_1B
from tests.plan.memory.trainers import TinyRun
from tests.plan.memory.triton import stand_in_for_triton

OF_THE_STEP = frozenset(TermName) - {
    TermName.FROZEN_WEIGHTS,
    TermName.TRAINABLE_WEIGHTS,
    TermName.OPTIMIZER,
    TermName.WORKSPACE,
    TermName.INPUT,
}
WIDE_VOCABULARY = LlamaConfig(
    vocab_size=4096,
    hidden_size=64,
    intermediate_size=160,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    pad_token_id=0,
    bos_token_id=None,
    eos_token_id=2,
)
LORA = TrainingShape(sequence=64, batch=2, attention=AttentionKernel.EAGER)
SMALL = MemoryShape.from_config(WIDE_VOCABULARY.to_dict())
ADAPTED = TrainingShape(batch=2)


def bytes_of_the_step(plan: MemoryPlan, training: TrainingShape) -> int:
    """What was not there before; gradients were, where an earlier micro-step made them."""
    counted = OF_THE_STEP - {TermName.GRADIENTS} if training.accumulation > 1 else OF_THE_STEP
    return sum(term.bytes for term in plan.terms if term.name in counted)


@pytest.mark.parametrize(
    "training",
    [
        pytest.param(attrs.evolve(LORA, objective=Objective.ORPO), id="orpo"),
        pytest.param(attrs.evolve(LORA, objective=Objective.ORPO, batch=1, accumulation=2), id="orpo-one-pair"),
        pytest.param(attrs.evolve(LORA, objective=Objective.SIMPO, checkpoints=False), id="simpo-all-saved"),
        pytest.param(attrs.evolve(LORA, objective=Objective.KTO), id="kto"),
        pytest.param(attrs.evolve(LORA, objective=Objective.KTO, checkpoints=False), id="kto-all-saved"),
        pytest.param(attrs.evolve(LORA, objective=Objective.KTO, autocast=False, fp32_weights=True), id="kto-float32"),
    ],
)
def test_a_step_allocates_what_is_predicted(
    training: TrainingShape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_for_triton(monkeypatch)
    step, before = TinyRun(training, WIDE_VOCABULARY).measured(tmp_path, monkeypatch)
    predicted = bytes_of_the_step(predict(SMALL, training), training)
    assert predicted == pytest.approx(step.peak_bytes, rel=0.01)
    assert before.peak_bytes < predicted
    assert (before.peak_bytes > 10_000) == (training.objective is Objective.KTO)


@pytest.mark.parametrize("training", [ADAPTED, attrs.evolve(ADAPTED, checkpoints=False)])
def test_a_pair_takes_what_two_sequences_take(training: TrainingShape) -> None:
    two = predict(LLAMA_1B, attrs.evolve(training, batch=4, pad_mask=True))
    for objective in (Objective.ORPO, Objective.SIMPO):
        assert predict(LLAMA_1B, attrs.evolve(training, objective=objective, pad_mask=True)).terms == two.terms


def test_the_passes_of_the_reference_are_over_before_the_graph_is_there() -> None:
    supervised = predict(LLAMA_1B, attrs.evolve(ADAPTED, pad_mask=True))
    assert predict(LLAMA_1B, attrs.evolve(ADAPTED, objective=Objective.KTO, pad_mask=True)).terms == supervised.terms


@pytest.mark.parametrize("objective", [Objective.ORPO, Objective.SIMPO, Objective.KTO])
def test_the_loss_head_of_fine_tuning_is_not_asked(objective: Objective) -> None:
    fused, full = (predict(LLAMA_1B, attrs.evolve(ADAPTED, objective=objective, loss=head)) for head in LossHead)
    assert fused == full


def test_a_tile_of_the_fused_head_is_as_wide_for_a_small_vocabulary() -> None:
    plan = predict(SMALL, attrs.evolve(LORA, batch=1))
    logits = next(term.bytes for term in plan.terms if term.name is TermName.LOGITS)
    assert 0 <= logits - 2 * 63 * 32768 < 4096
