"""ORPO, SimPO and KTO against the allocations of TRL's trainers."""

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
from backprop.plan.memory.training import LossHead, MemoryMethod, TrainingShape
from tests.plan.memory.test_predict import SMALL as LLAMA_1B
from tests.plan.memory.trainers import TinyRun, stand_in_for_triton

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
NARROW_VOCABULARY = LlamaConfig(
    vocab_size=320,
    hidden_size=128,
    intermediate_size=512,
    num_hidden_layers=8,
    num_attention_heads=4,
    num_key_value_heads=2,
    pad_token_id=0,
    bos_token_id=None,
    eos_token_id=2,
)
LORA = TrainingShape(sequence=64, batch=2, attention=AttentionKernel.EAGER)
FULL = attrs.evolve(LORA, method=MemoryMethod.FULL)
CASTING = attrs.evolve(FULL, objective=Objective.KTO, fp32_weights=True, sequence=24)
SMALL = MemoryShape.from_config(WIDE_VOCABULARY.to_dict())
ADAPTED = TrainingShape(batch=2)
FULLY = attrs.evolve(ADAPTED, method=MemoryMethod.FULL)
LOSSES = [(Objective.ORPO, 10), (Objective.SIMPO, 8)]
"""Bytes of each logit of both sequences: fp32 logits and their gradients, of all tokens and of those with a next one.

ORPO keeps the log-softmax of the chosen half besides.
"""


def bytes_of_the_step(plan: MemoryPlan, training: TrainingShape) -> int:
    """What was not there before; gradients were, where an earlier micro-step made them."""
    counted = OF_THE_STEP - {TermName.GRADIENTS} if training.accumulation > 1 else OF_THE_STEP
    return sum(term.bytes for term in plan.terms if term.name in counted)


@pytest.mark.parametrize(
    ("training", "config"),
    [
        pytest.param(attrs.evolve(LORA, objective=Objective.ORPO), WIDE_VOCABULARY, id="orpo-lora"),
        pytest.param(attrs.evolve(LORA, objective=Objective.ORPO, batch=1), WIDE_VOCABULARY, id="orpo-one-pair"),
        pytest.param(
            attrs.evolve(FULL, objective=Objective.ORPO, autocast=False), WIDE_VOCABULARY, id="orpo-full-pure-bf16"
        ),
        pytest.param(
            attrs.evolve(LORA, objective=Objective.SIMPO, checkpoints=False), WIDE_VOCABULARY, id="simpo-lora-all-saved"
        ),
        pytest.param(attrs.evolve(FULL, objective=Objective.SIMPO), WIDE_VOCABULARY, id="simpo-full"),
        pytest.param(attrs.evolve(LORA, objective=Objective.KTO), WIDE_VOCABULARY, id="kto-lora"),
        pytest.param(
            attrs.evolve(FULL, objective=Objective.KTO, checkpoints=False), WIDE_VOCABULARY, id="kto-full-all-saved"
        ),
        pytest.param(
            attrs.evolve(CASTING, checkpoints=False, accumulation=2),
            NARROW_VOCABULARY,
            id="kto-full-casts-of-the-reference",
        ),
    ],
)
def test_a_step_allocates_what_is_predicted(
    training: TrainingShape, config: LlamaConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_for_triton(monkeypatch)
    allocated = TinyRun(training, config).measured(tmp_path).peak_bytes
    predicted = predict(MemoryShape.from_config(config.to_dict()), training)
    assert bytes_of_the_step(predicted, training) == pytest.approx(allocated, rel=0.01)


@pytest.mark.parametrize(("objective", "bytes_of_a_logit"), LOSSES)
def test_pairs_keep_logits_and_gradients_in_fp32(objective: Objective, bytes_of_a_logit: int) -> None:
    plan = predict(LLAMA_1B, attrs.evolve(ADAPTED, objective=objective))
    logits = next(term.bytes for term in plan.terms if term.name is TermName.LOGITS)
    assert plan.moment == "loss"
    num_logits = 2 * ADAPTED.batch * ADAPTED.sequence * LLAMA_1B.vocab_size
    assert logits / num_logits == pytest.approx(bytes_of_a_logit, rel=0.01)


@pytest.mark.parametrize("training", [ADAPTED, FULLY, attrs.evolve(ADAPTED, checkpoints=False)])
def test_more_of_the_model_is_asked_for_from_one_objective_to_the_next(training: TrainingShape) -> None:
    sft, kto, simpo, orpo = (
        predict(LLAMA_1B, attrs.evolve(training, objective=objective)).peak_bytes
        for objective in (Objective.SFT, Objective.KTO, Objective.SIMPO, Objective.ORPO)
    )
    assert sft <= kto
    assert sft < simpo < orpo


def test_the_reference_of_a_full_fine_tuning_is_a_second_model() -> None:
    plan = predict(LLAMA_1B, attrs.evolve(FULLY, objective=Objective.KTO))
    terms = {term.name: term.bytes for term in plan.terms}
    assert terms[TermName.FROZEN_WEIGHTS] == terms[TermName.TRAINABLE_WEIGHTS]
    adapted = predict(LLAMA_1B, attrs.evolve(ADAPTED, objective=Objective.KTO))
    assert adapted.terms[0] == predict(LLAMA_1B, ADAPTED).terms[0]


@pytest.mark.parametrize("objective", [Objective.ORPO, Objective.SIMPO, Objective.KTO])
def test_the_loss_head_of_fine_tuning_is_not_asked(objective: Objective) -> None:
    fused, full = (predict(LLAMA_1B, attrs.evolve(ADAPTED, objective=objective, loss=head)) for head in LossHead)
    assert fused == full


def test_a_tile_of_the_fused_head_is_as_wide_for_a_small_vocabulary() -> None:
    plan = predict(SMALL, attrs.evolve(LORA, batch=1))
    logits = next(term.bytes for term in plan.terms if term.name is TermName.LOGITS)
    assert 0 <= logits - 2 * 63 * 32768 < 4096
