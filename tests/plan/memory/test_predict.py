"""The prediction against runs, and the laws that hold whatever the model."""

from __future__ import annotations

import statistics
import time

import attrs
import pytest
from benchmarks.memory_accuracy import compare

from backprop.plan.facts.architectures import ARCHITECTURES
from backprop.plan.facts.model import Experts
from backprop.plan.memory.attention import AttentionKernel
from backprop.plan.memory.device import Device
from backprop.plan.memory.predict import NotModelled, predict
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import LossHead, MemoryMethod, MemoryOptimizer, TrainingShape

CONFIG = ARCHITECTURES["meta-llama/Llama-3.2-1B"]
SMALL = MemoryShape.from_config(CONFIG)
ON_CPU = TrainingShape(device=Device.CPU, attention=AttentionKernel.SDPA, fp32_weights=True, checkpoints=False)
TRAININGS = (
    ON_CPU,
    attrs.evolve(ON_CPU, method=MemoryMethod.FULL, optimizer=MemoryOptimizer.ADAMW_FOREACH, sequence=16),
    attrs.evolve(ON_CPU, fp32_weights=False, packed=True, checkpoints=True),
    TrainingShape(),
    TrainingShape(method=MemoryMethod.QLORA, optimizer=MemoryOptimizer.ADAMW_8BIT_PAGED),
    TrainingShape(method=MemoryMethod.DORA, sequence=512),
    TrainingShape(method=MemoryMethod.QDORA, sequence=512),
    TrainingShape(method=MemoryMethod.QLORA, kbit_prepared=True),
    TrainingShape(method=MemoryMethod.FULL),
    TrainingShape(method=MemoryMethod.FULL, fp32_weights=True, optimizer=MemoryOptimizer.ADAMW_FOREACH),
    TrainingShape(method=MemoryMethod.FULL, accumulation=2, loss=LossHead.FULL_LOGITS),
    TrainingShape(checkpoints=False),
    TrainingShape(checkpoints=False, attention=AttentionKernel.EAGER, sequence=512),
    TrainingShape(attention=AttentionKernel.SDPA, pad_mask=True, loss=LossHead.FULL_LOGITS, keep_outputs=True),
)


@pytest.mark.parametrize("kind", ["simulated", "measured"])
def test_predictions_match_simulated_and_measured_runs(kind: str) -> None:
    errors = {row.name: abs(row.error_percent) for row in compare(kind)}
    assert statistics.median(errors.values()) <= 0.1
    assert max(errors.values()) <= 1.0, errors


@pytest.mark.parametrize("kind", ["simulated"])
def test_every_simulated_run_is_matched_to_a_hundredth_of_a_percent(kind: str) -> None:
    assert max(abs(row.error_percent) for row in compare(kind)) <= 0.01


@pytest.mark.parametrize("training", TRAININGS)
def test_more_of_anything_never_needs_less(training: TrainingShape) -> None:
    peak = predict(SMALL, training).peak_bytes
    larger_trainings = (
        attrs.evolve(training, rank=2 * training.rank),
        attrs.evolve(training, batch=2 * training.batch),
        attrs.evolve(training, sequence=2 * training.sequence),
    )
    larger_models = (
        attrs.evolve(SMALL, num_layers=SMALL.num_layers + 1),
        attrs.evolve(SMALL, vocab_size=SMALL.vocab_size + 1024),
        MemoryShape.from_config({**CONFIG, "intermediate_size": 16384}),
    )
    assert all(predict(SMALL, larger).peak_bytes >= peak for larger in larger_trainings)
    assert all(predict(larger, training).peak_bytes >= peak for larger in larger_models)


@pytest.mark.parametrize("training", TRAININGS)
def test_the_terms_add_up_to_the_peak_and_none_is_negative(training: TrainingShape) -> None:
    plan = predict(SMALL, training)
    assert plan.peak_bytes == sum(term.bytes for term in plan.terms)
    assert all(term.bytes > 0 for term in plan.terms)
    assert plan.reserved_bytes > plan.peak_bytes


@pytest.mark.parametrize("num_layers", [1, 2, 3, 4])
@pytest.mark.parametrize("training", TRAININGS[:6])
def test_layers_left_out_count_as_those_traced(num_layers: int, training: TrainingShape) -> None:
    """The step from one count of layers to the next is the same whether or not the layer was traced."""
    peaks = [
        predict(attrs.evolve(SMALL, num_layers=count), training).peak_bytes
        for count in (num_layers + 3, num_layers + 4)
    ]
    steps = [
        predict(attrs.evolve(SMALL, num_layers=count), training).peak_bytes
        for count in (num_layers + 4, num_layers + 5)
    ]
    assert steps[1] - steps[0] == peaks[1] - peaks[0]


def test_the_optimizer_step_needs_a_copy_of_the_trainables_with_foreach() -> None:
    training = TrainingShape(method=MemoryMethod.FULL, optimizer=MemoryOptimizer.ADAMW_FOREACH, sequence=16)
    plan = predict(SMALL, training)
    terms = {term.name: term.bytes for term in plan.terms}
    assert plan.moment == "optimizer step"
    assert terms[TermName.STEP] == terms[TermName.TRAINABLE_WEIGHTS] == terms[TermName.GRADIENTS]


def test_full_logits_make_the_loss_the_peak() -> None:
    plan = predict(SMALL, TrainingShape(loss=LossHead.FULL_LOGITS))
    terms = {term.name: term.bytes for term in plan.terms}
    assert plan.moment == "loss"
    assert 0 <= terms[TermName.LOGITS] - 12 * 2048 * SMALL.vocab_size <= 512  # and the loss itself


def test_soft_capped_attention_is_always_eager() -> None:
    capped = attrs.evolve(SMALL, soft_caps_attention=True)
    flash, eager = (
        predict(capped, TrainingShape(attention=kernel)) for kernel in (AttentionKernel.FLASH, AttentionKernel.EAGER)
    )
    assert flash == eager


def test_mixtures_of_experts_are_refused() -> None:
    with pytest.raises(NotModelled, match="8 experts"):
        predict(
            attrs.evolve(SMALL, experts=Experts(count=8, per_token=2, intermediate_size=512, num_layers=16)),
            TrainingShape(),
        )


def test_a_prediction_is_cheap_once_its_structure_was_seen() -> None:
    training = TrainingShape(method=MemoryMethod.QLORA)
    predict(SMALL, training)
    seconds = []
    for sequence in range(1024, 1124):
        start = time.perf_counter()
        predict(SMALL, attrs.evolve(training, sequence=sequence))
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.001


def test_only_learned_tokens_go_through_the_head() -> None:
    few, half, all_but_first = (
        predict(SMALL, attrs.evolve(ON_CPU, num_targets=num_targets)).peak_bytes for num_targets in (20, 1000, 2047)
    )
    assert few < half < all_but_first == predict(SMALL, ON_CPU).peak_bytes


def test_the_cpu_has_no_workspace_and_does_not_cast() -> None:
    asked = attrs.evolve(ON_CPU, autocast=True)
    assert predict(SMALL, asked) == predict(SMALL, attrs.evolve(asked, autocast=False, workspace_bytes=0))
    assert TermName.WORKSPACE not in {term.name for term in predict(SMALL, asked).terms}


def test_on_the_cpu_plain_adamw_needs_two_copies_of_the_largest_weight_alone() -> None:
    """Embeddings and head come first and last; beside the head stands what is left of the last layer's largest."""
    untied = attrs.evolve(SMALL, tie_word_embeddings=False)
    training = attrs.evolve(ON_CPU, method=MemoryMethod.FULL, optimizer=MemoryOptimizer.ADAMW_FOREACH, sequence=16)
    plan = predict(untied, training)
    largest = 4 * SMALL.vocab_size * SMALL.hidden_size
    assert plan.moment == "optimizer step"
    assert {t.name: t.bytes for t in plan.terms}[
        TermName.STEP
    ] - 2 * largest == 4 * SMALL.hidden_size * SMALL.intermediate_size
