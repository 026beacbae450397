"""Laws of what memory decides in a training plan: room, batch, and the changes that a refusal names."""

from __future__ import annotations

import attrs
from hypothesis import assume, given
from hypothesis import strategies as st

from backprop.plan.decision import Decision, Refused, errors_among
from backprop.plan.facts.absent import Absent
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.batch import plan_update
from backprop.plan.training.changes import smallest_changes
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.footprint import Footprint, Place, Sequences, plan_footprint
from backprop.plan.training.plan import TrainPlan, plan_train
from backprop.plan.training.rail import plan_rail
from property_tests.strategies.training import GIB, train_facts, train_settings

TIGHT = train_facts(is_roomy=False)


def result(settings: TrainSettings, facts: TrainFacts) -> TrainPlan | Refused:
    return plan_train(settings, facts, origins=Origins())


@given(train_settings(), TIGHT)
def test_an_accepted_plan_fits_its_budget_and_a_refused_one_names_what_is_missing(
    settings: TrainSettings, facts: TrainFacts
) -> None:
    plan = result(settings, facts)
    if isinstance(plan, TrainPlan):
        if plan.memory is not None and plan.budget is not None:
            assert plan.memory.needed_bytes <= plan.budget.free_bytes
        assert plan.batch.accumulation.value == -(-plan.batch.effective // plan.batch.micro_batch.value)
    else:
        assert {p.code for p in errors_among(plan.problems)} == {"RUNTIME_MEMORY_INSUFFICIENT"}


@given(train_settings(), TIGHT, st.integers(0, 80 * GIB), st.integers(0, 40 * GIB))
def test_more_memory_never_shrinks_the_batch_nor_turns_a_plan_away(
    settings: TrainSettings, facts: TrainFacts, more: int, more_free: int
) -> None:
    gpu = facts.hardware.gpu
    assume(gpu is not None)
    assert gpu is not None
    total = gpu.vram_total_bytes + more
    larger = attrs.evolve(gpu, vram_total_bytes=total, vram_free_bytes=min(total, gpu.vram_free_bytes + more_free))
    # The optimizer's rule goes by the size of the card; it is held, so that only memory changes.
    before = result(settings, facts)
    richer = attrs.evolve(facts, hardware=attrs.evolve(facts.hardware, gpus=(larger,)))
    if isinstance(before, TrainPlan):
        fixed = attrs.evolve(settings, training=attrs.evolve(settings.training, optim=before.optimizer.value))
        after = result(fixed, richer)
        assert isinstance(after, TrainPlan)
        assert after.batch.micro_batch.value >= before.batch.micro_batch.value


@given(train_settings(), TIGHT)
def test_what_is_asked_for_together_stays_together_however_few_fit(settings: TrainSettings, facts: TrainFacts) -> None:
    plan = result(settings, facts)
    assume(isinstance(plan, TrainPlan))
    assert isinstance(plan, TrainPlan)
    update = plan_update(
        settings.training, rail=plan.rail.value, hardware=facts.hardware, objective=Objective.SFT, origins=Origins()
    )
    assert plan.batch.effective == update.effective


@given(train_settings(), TIGHT)
def test_each_change_that_a_refusal_names_is_accepted(settings: TrainSettings, facts: TrainFacts) -> None:
    plan = result(settings, facts)
    assume(isinstance(plan, Refused))
    place, sequences = _place(settings, facts)
    for change in smallest_changes(settings, place, sequences=sequences):
        cut = attrs.evolve(sequences, longest=min(sequences.longest, change.settings.model.max_seq_length))
        other = attrs.evolve(place, model=change.model)
        update = plan_update(
            change.settings.training,
            rail=place.rail,
            hardware=place.hardware,
            objective=Objective.SFT,
            origins=Origins(),
        )
        footprint = plan_footprint(change.settings, other, update=update, sequences=cut, origins=Origins())
        assert isinstance(footprint, Footprint)
        assert footprint.fit.fits
        assert footprint.fit.memory == change.memory


def _place(settings: TrainSettings, facts: TrainFacts) -> tuple[Place, Sequences]:
    rail = plan_rail(settings.training.backend, facts.hardware, facts.software, origins=Origins())
    assert not isinstance(facts.model, Absent)
    assert not isinstance(facts.data, Absent)
    assert isinstance(rail, Decision)
    tokens = facts.data.train.tokens
    assert tokens is not None
    longest = max(length for length, _ in tokens.length_counts)
    return Place(facts.model, facts.hardware, facts.software, rail.value), Sequences(longest, is_packed=False)
