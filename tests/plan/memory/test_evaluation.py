"""An evaluation needs what training needs without gradients and saved tensors."""

from __future__ import annotations

import attrs
import pytest

from backprop.plan.memory.evaluation import predict_evaluation
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.memory.predict import predict
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import MemoryMethod, TrainingShape
from tests.plan.memory.test_predict import ON_CPU, SMALL, TRAININGS


def terms(plan: MemoryPlan) -> dict[TermName, int]:
    return {term.name: term.bytes for term in plan.terms}


@pytest.mark.parametrize("training", TRAININGS)
def test_an_evaluation_of_rows_as_long_never_needs_more_than_training(training: TrainingShape) -> None:
    evaluation = predict_evaluation(SMALL, training, longest=training.sequence)
    assert evaluation.moment == "evaluation"
    assert evaluation.peak_bytes < predict(SMALL, training).peak_bytes


@pytest.mark.parametrize("training", TRAININGS)
def test_longer_rows_and_larger_batches_need_more(training: TrainingShape) -> None:
    short = predict_evaluation(SMALL, training, longest=100).peak_bytes
    assert predict_evaluation(SMALL, training, longest=200).peak_bytes > short
    larger = attrs.evolve(training, batch=2 * training.batch)
    assert predict_evaluation(SMALL, larger, longest=100).peak_bytes > short


def test_without_a_graph_layers_leave_only_their_weights() -> None:
    """One more layer costs its weights, its adapters and their state, whatever the rows."""
    deeper = attrs.evolve(SMALL, num_layers=SMALL.num_layers + 1)
    costs = {
        predict_evaluation(deeper, ON_CPU, longest=longest).peak_bytes
        - predict_evaluation(SMALL, ON_CPU, longest=longest).peak_bytes
        for longest in (100, 1000)
    }
    assert len(costs) == 1


def test_gradients_stay_only_where_they_are_zeroed_in_place() -> None:
    training = TrainingShape(method=MemoryMethod.FULL, accumulation=2)
    assert TermName.GRADIENTS not in terms(predict_evaluation(SMALL, training, longest=64))
    kept = predict_evaluation(SMALL, attrs.evolve(training, keep_gradients=True), longest=64)
    assert terms(kept)[TermName.GRADIENTS] == terms(kept)[TermName.TRAINABLE_WEIGHTS]


def test_fewer_learned_tokens_need_less_of_the_head() -> None:
    few, all_of_them = (
        predict_evaluation(SMALL, ON_CPU, longest=1000, num_targets=num_targets).peak_bytes
        for num_targets in (10, None)
    )
    assert few < all_of_them
    assert predict_evaluation(SMALL, ON_CPU, longest=1000, num_targets=999).peak_bytes == all_of_them


def test_nothing_is_dropped_in_an_evaluation() -> None:
    plain, dropping = (TrainingShape(method=MemoryMethod.QLORA, dropout=dropout) for dropout in (False, True))
    assert predict_evaluation(SMALL, plain, longest=100) == predict_evaluation(SMALL, dropping, longest=100)
    assert predict(SMALL, plain).peak_bytes < predict(SMALL, dropping).peak_bytes
