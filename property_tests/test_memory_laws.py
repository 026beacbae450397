"""Laws of the predicted peak: it grows with everything, adds up, and depends on nothing else.

Predictions are sums over events of sizes rounded up to the allocator's blocks, so they could fall where a kernel or a
mask is chosen by a size. They do in two places only, which is why these are held fixed here:

- the rank under 8-bit AdamW, which keeps tensors below 4096 elements in fp32: a larger adapter may have less state;
- recomputation, which needs more than it saves where sequences are a few tokens long.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backprop.plan.memory.objective import Objective
from backprop.plan.memory.plan import MemoryPlan
from backprop.plan.memory.predict import predict, sized
from backprop.plan.memory.shape import MemoryShape
from backprop.plan.memory.step import record_step, trace_step
from backprop.plan.memory.structure import StepStructure
from backprop.plan.memory.term import TermName
from backprop.plan.memory.training import MemoryMethod, MemoryOptimizer, TrainingShape
from backprop.plan.memory.walk import Walk, walk_of
from backprop.plan.wire.converter import from_data, to_data
from property_tests.strategies.memory import EIGHT_BIT, SHAPES, shapes, trainings, with_intermediate, with_layers

CASES = shapes().flatmap(lambda model: st.tuples(st.just(model), trainings(model)))
ADAPTERS = tuple(method for method in MemoryMethod if method is not MemoryMethod.FULL)
MORE = st.sampled_from((1, 2, 3, 13, 64, 512))
LLAMA = next(shape for shape in SHAPES if shape.num_kv_heads == 32)
OFFLOADED = TrainingShape(method=MemoryMethod.FULL, offload=True)
"""The last layer but one finds the gradients of the last still on their way to the host."""
ON_VALUES = TrainingShape(targets=("v_proj",), rank=71, sequence=3, checkpoints=False, autocast=False)
"""The first layer needs no angles of positions, so all the others let go of them at once."""
Case = tuple[MemoryShape, TrainingShape]


def peak(model: MemoryShape, training: TrainingShape) -> int:
    return predict(model, training).peak_bytes


@given(CASES, MORE)
def test_a_higher_rank_never_needs_less(case: Case, more: int) -> None:
    """Held: the optimizer, which is not an 8-bit one."""
    model, training = case
    if training.optimizer in EIGHT_BIT:
        training = attrs.evolve(training, optimizer=MemoryOptimizer.ADAMW_FUSED)
    assert peak(model, attrs.evolve(training, rank=training.rank + more)) >= peak(model, training)


@given(CASES, st.integers(1, 4))
def test_more_rows_at_once_never_need_less(case: Case, more: int) -> None:
    """Held: whether there is a mask of padding, which a real batch of one row has not."""
    model, training = case
    assert peak(model, attrs.evolve(training, batch=training.batch + more)) >= peak(model, training)


@given(CASES)
def test_a_batch_of_one_without_a_mask_never_needs_more_than_two_with_one(case: Case) -> None:
    model, training = case
    one = attrs.evolve(training, batch=1, pad_mask=False)
    two = attrs.evolve(training, batch=2, pad_mask=not training.packed)
    assert peak(model, one) <= peak(model, two)


@given(CASES, MORE)
def test_longer_sequences_never_need_less(case: Case, more: int) -> None:
    model, training = case
    assert peak(model, attrs.evolve(training, sequence=training.sequence + more)) >= peak(model, training)


@given(CASES, MORE)
def test_a_larger_vocabulary_never_needs_less(case: Case, more: int) -> None:
    model, training = case
    assert peak(attrs.evolve(model, vocab_size=model.vocab_size + more), training) >= peak(model, training)


@given(CASES, st.integers(1, 3))
def test_more_layers_never_need_less_and_each_adds_the_same_beyond_those_traced(case: Case, more: int) -> None:
    """Held for the second: the moment of the peak, which may move as layers are added."""
    model, training = case
    larger = [with_layers(model, model.num_layers + count * more) for count in range(3)]
    plans = [predict(one, training) for one in larger]
    sizes = [plan.peak_bytes for plan in plans]
    assert sizes == sorted(sizes)
    if model.num_layers >= 4 and len({plan.moment for plan in plans}) == 1:
        assert sizes[2] - sizes[1] == sizes[1] - sizes[0]


@given(st.integers(3, 8), st.sampled_from(SHAPES).flatmap(lambda model: st.tuples(st.just(model), trainings(model))))
@example(8, (LLAMA, OFFLOADED))
@example(8, (LLAMA, ON_VALUES))
def test_layers_left_out_count_as_if_each_had_been_traced(num_layers: int, case: Case) -> None:
    """The peak and its moment to the byte, against a tape on which no layer stands for another."""
    model, training = with_layers(case[0], num_layers), case[1]
    short, whole = (sized(model, training, trace) for trace in (trace_step, traced_whole(num_layers)))
    found, expected = short[0].peak(*short[1:]), whole[0].peak(whole[1], 0)
    assert (found.num_bytes, found.moment) == (expected.num_bytes, expected.moment)


def traced_whole(num_layers: int) -> Callable[[StepStructure], Walk]:
    """A trace of every layer."""

    def trace(structure: StepStructure) -> Walk:
        events = record_step(attrs.evolve(structure, num_layers=num_layers))
        alone = attrs.evolve(events, forward=(0, 0), backward=(0, 0), repeated=frozenset(), single=frozenset())
        return walk_of(alone)

    return trace


@given(CASES, MORE)
def test_a_wider_network_never_needs_less(case: Case, more: int) -> None:
    model, training = case
    assert peak(with_intermediate(model, model.intermediate_size + 8 * more), training) >= peak(model, training)


@given(CASES)
def test_the_terms_add_up_to_the_peak_to_the_byte(case: Case) -> None:
    plan = predict(*case)
    assert sum(term.bytes for term in plan.terms) == plan.peak_bytes
    assert sum(plan.bytes_of(name) for name in TermName) == plan.peak_bytes
    assert len({term.name for term in plan.terms}) == len(plan.terms)
    assert all(term.bytes > 0 for term in plan.terms)
    assert plan.peak_bytes <= plan.reserved_bytes <= plan.needed_bytes


@given(CASES)
def test_four_bits_hold_the_frozen_weights_in_less(case: Case) -> None:
    """Held: everything but how the frozen weights stand; their state counts to them."""
    model, training = case
    four_bit = predict(model, attrs.evolve(training, method=MemoryMethod.QLORA, offload=False))
    whole = predict(model, attrs.evolve(training, method=MemoryMethod.LORA, offload=False))
    held = four_bit.bytes_of(TermName.FROZEN_WEIGHTS) + four_bit.bytes_of(TermName.QUANTIZATION_STATE)
    assert held < whole.bytes_of(TermName.FROZEN_WEIGHTS)


@given(CASES)
def test_the_largest_trainable_tensors_stand_where_they_are_trained(case: Case) -> None:
    model, training = case
    plan = predict(model, training)
    if training.method is MemoryMethod.FULL:
        assert (plan.bytes_of(TermName.FROZEN_WEIGHTS) > 0) == (training.objective is Objective.KTO)
    else:
        assert plan.bytes_of(TermName.FROZEN_WEIGHTS) > 0
    assert (plan.host_bytes > 0) == training.offload
    assert plan.paged_bytes <= plan.bytes_of(TermName.OPTIMIZER)


@given(CASES)
def test_gradients_kept_between_passes_never_need_less(case: Case) -> None:
    model, training = case
    one, several = (attrs.evolve(training, accumulation=passes) for passes in (1, 2))
    assert peak(model, one) <= peak(model, several) == peak(model, attrs.evolve(several, accumulation=64))


@given(CASES)
def test_a_plan_survives_json(case: Case) -> None:
    plan = predict(*case)
    assert from_data(to_data(plan), MemoryPlan) == plan


@settings(max_examples=25)
@given(st.lists(CASES, min_size=2, max_size=4))
def test_a_prediction_does_not_depend_on_what_was_predicted_before(cases: list[Case]) -> None:
    before = [predict(*case) for case in cases]
    trace_step.cache_clear()
    backwards = [predict(*case) for case in reversed(cases)]
    assert backwards[::-1] == before


@given(st.sampled_from(SHAPES), st.sampled_from(ADAPTERS), st.integers(1024, 8192))
def test_recomputation_saves_memory_of_adapters_where_sequences_have_a_usual_length(
    model: MemoryShape, method: MemoryMethod, sequence: int
) -> None:
    """Held: one sequence; nothing dropped. Where every weight is trained the peak may lie behind the layers."""
    saved, recomputed = (
        peak(model, TrainingShape(method=method, sequence=sequence, checkpoints=checkpoints))
        for checkpoints in (False, True)
    )
    assert recomputed < saved


@pytest.mark.parametrize("optimizer", EIGHT_BIT, ids=lambda optimizer: optimizer.value)
def test_a_higher_rank_may_need_less_where_its_state_no_longer_stands_in_fp32(optimizer: MemoryOptimizer) -> None:
    """576 x 7 elements are below bitsandbytes' 4096, 576 x 8 are not; so the law on the rank leaves 8 bits out."""
    smollm = next(shape for shape in SHAPES if shape.hidden_size == 576)
    low, high = (predict(smollm, TrainingShape(rank=rank, optimizer=optimizer)) for rank in (7, 8))
    assert high.bytes_of(TermName.OPTIMIZER) < low.bytes_of(TermName.OPTIMIZER)
    assert high.bytes_of(TermName.TRAINABLE_WEIGHTS) > low.bytes_of(TermName.TRAINABLE_WEIGHTS)
