"""Laws of the training plan."""

from __future__ import annotations

import math

import attrs
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig

from backprop.plan.decision import Decision
from backprop.plan.runs.extension import extend_plan
from backprop.plan.settings.lora import AdapterInit, LoraSettings
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.adapter import AdapterPlan
from backprop.plan.training.arguments import lora_arguments, sft_arguments
from backprop.plan.training.evaluation import EvaluationPlan, EvaluationState, observe, should_stop
from backprop.plan.training.facts import TrainFacts
from backprop.plan.training.fingerprint import fingerprint
from backprop.plan.training.plan import TrainPlan, plan_train
from backprop.plan.training.rail import Rail
from backprop.plan.wire.converter import canonical_json, from_data, to_data
from property_tests.strategies.training import train_facts, train_settings


def planned(settings: TrainSettings, facts: TrainFacts) -> TrainPlan:
    plan = plan_train(settings, facts, origins=Origins())
    assert isinstance(plan, TrainPlan)
    return plan


@given(train_settings(), train_facts())
def test_a_plan_survives_json_and_keeps_its_fingerprint(settings: TrainSettings, facts: TrainFacts) -> None:
    plan = planned(settings, facts)
    back = from_data(to_data(plan), TrainPlan)
    assert back == plan
    assert hash(back) == hash(plan)
    assert fingerprint(back) == fingerprint(plan)


@given(train_settings(), train_facts())
def test_planning_twice_gives_the_same_plan(settings: TrainSettings, facts: TrainFacts) -> None:
    assert canonical_json(to_data(planned(settings, facts))) == canonical_json(to_data(planned(settings, facts)))


@given(train_settings(), train_facts(), st.integers(1, 2**32 - 1))
def test_another_seed_is_another_plan(settings: TrainSettings, facts: TrainFacts, offset: int) -> None:
    training = settings.training
    other = attrs.evolve(training, seed=(training.seed + offset) % 2**32)
    if other.seed != training.seed:
        one, two = planned(settings, facts), planned(attrs.evolve(settings, training=other), facts)
        assert fingerprint(one) != fingerprint(two)


@given(train_settings(), train_facts())
def test_every_update_has_the_full_batch_and_the_counts_agree(settings: TrainSettings, facts: TrainFacts) -> None:
    plan = planned(settings, facts)
    seen = plan.length.epochs * plan.length.sequences
    assert (
        seen == plan.length.steps.value * plan.batch.effective
        or abs(seen / plan.length.steps.value - plan.batch.effective) < 1e-6
    )


@given(train_settings(), train_facts())
def test_epochs_asked_are_reached_and_not_by_more_than_a_step(settings: TrainSettings, facts: TrainFacts) -> None:
    plan = planned(settings, facts)
    asked = settings.training.num_train_epochs
    if asked is not None:
        one_step = plan.batch.effective / plan.length.sequences
        assert asked - 1e-9 <= plan.length.epochs or plan.length.steps.value == 1
        assert plan.length.epochs < asked + one_step + 1e-9


@given(train_settings(), train_facts(), st.integers(1, 64))
def test_alpha_follows_the_rank_and_parameters_grow_with_it(
    settings: TrainSettings, facts: TrainFacts, rank: int
) -> None:
    def at(r: int) -> AdapterPlan:
        lora = LoraSettings(preset=settings.lora.preset, r=r)
        adapter = planned(attrs.evolve(settings, lora=lora), facts).adapter
        assert adapter is not None
        return adapter

    assert at(rank).scale == at(2 * rank).scale == 2.0
    assert 2 * at(rank).num_parameters == at(2 * rank).num_parameters


@given(train_settings(), train_facts(), st.integers(1, 1024))
def test_a_rank_stabilized_alpha_keeps_the_scale_at_every_rank(
    settings: TrainSettings, facts: TrainFacts, rank: int
) -> None:
    adapter = planned(attrs.evolve(settings, lora=LoraSettings(r=rank, use_rslora=True)), facts).adapter
    assert adapter is not None
    assert math.isclose(adapter.scale, 2.0)


@given(train_settings(), train_facts())
def test_the_arguments_of_an_adapter_are_accepted_by_peft_and_scale_as_planned(
    settings: TrainSettings, facts: TrainFacts
) -> None:
    adapter = planned(settings, facts).adapter
    assert adapter is not None
    config = LoraConfig(**lora_arguments(adapter))
    divisor = math.sqrt(config.r) if config.use_rslora else config.r
    assert math.isclose(config.lora_alpha / divisor, adapter.scale)


def without_unsloth(settings: TrainSettings) -> TrainSettings:
    """Unsloth trains adapters from random weights alone, and rows are not packed for it."""
    return attrs.evolve(settings, training=attrs.evolve(settings.training, use_unsloth=False))


@given(train_settings(), train_facts())
def test_first_weights_change_neither_the_shape_nor_the_memory_of_a_step_and_stand_beside_it(
    settings: TrainSettings, facts: TrainFacts
) -> None:
    settings = without_unsloth(settings)
    random = attrs.evolve(settings, lora=attrs.evolve(settings.lora, init_lora_weights=AdapterInit.DEFAULT))
    computed = attrs.evolve(settings, lora=attrs.evolve(settings.lora, init_lora_weights=AdapterInit.PISSA))
    one, two = planned(random, facts), planned(computed, facts)
    assert one.adapter is not None
    assert two.adapter is not None
    assert attrs.evolve(two.adapter, initial=None) == one.adapter
    assert (one.batch, one.precision) == (two.batch, two.precision)
    assert one.memory is not None
    assert two.memory is not None
    first = 4 * two.adapter.num_parameters
    on_cpu = two.rail.value is Rail.CPU
    context, host = one.memory.context_bytes + first * on_cpu, one.memory.host_bytes + first * (not on_cpu)
    assert two.memory == attrs.evolve(one.memory, context_bytes=context, host_bytes=host)


@given(train_settings(), train_facts())
def test_a_value_that_was_given_is_the_value_that_runs(settings: TrainSettings, facts: TrainFacts) -> None:
    plan = planned(settings, facts)
    arguments = sft_arguments(plan, staging_dir="/tmp/x")
    asked = settings.training
    for name, value in (
        ("learning_rate", asked.learning_rate),
        ("max_steps", asked.max_steps),
        ("per_device_train_batch_size", asked.per_device_train_batch_size),
    ):
        assert value is None or arguments[name] == value
    assert plan.adapter is not None
    assert settings.lora.r is None or lora_arguments(plan.adapter)["r"] == settings.lora.r


@given(train_settings(), train_facts(), st.integers(1, 1000))
def test_an_extended_plan_differs_in_what_its_length_decides(
    settings: TrainSettings, facts: TrainFacts, more: int
) -> None:
    plan = planned(settings, facts)
    longer = extend_plan(plan, settings.training, steps=plan.length.steps.value + more, origins=Origins())
    same = attrs.evolve(longer, length=plan.length, learning_rate=plan.learning_rate, evaluation=plan.evaluation)
    assert same == plan
    assert longer.length.steps.value == plan.length.steps.value + more
    assert longer.length.epochs > plan.length.epochs


@given(train_settings(), train_facts(), st.booleans())
def test_a_full_plan_differs_from_that_of_an_adapter_in_what_is_trained(
    settings: TrainSettings, facts: TrainFacts, offload: bool
) -> None:
    settings = without_unsloth(settings)
    roomy = attrs.evolve(facts, hardware=attrs.evolve(facts.hardware, disk_free_bytes=None))
    asked = attrs.evolve(settings.training, mode=TrainMode.FULL, full_ft_offload=offload, full_ft_ceiling_billions=1e6)
    plan = planned(attrs.evolve(settings, training=asked), roomy)
    assert from_data(to_data(plan), TrainPlan) == plan
    other = planned(settings, facts)
    assert (plan.batch, plan.length, plan.data) == (other.batch, other.length, other.data)
    assert attrs.evolve(plan.checkpoints, num_bytes=other.checkpoints.num_bytes) == other.checkpoints
    assert other.adapter is not None
    assert plan.adapter is None
    assert plan.num_trainable == plan.model.num_parameters
    if settings.training.learning_rate is None:
        assert math.isclose(10 * plan.learning_rate.peak.value, other.learning_rate.peak.value)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.integers(1, 5))
def test_early_stopping_waits_exactly_its_patience(losses: list[float], patience: int) -> None:
    plan = EvaluationPlan(every=Decision(1, "test", ""), rows=1, patience=patience)
    state = EvaluationState()
    for step, loss in enumerate(losses, start=1):
        state = observe(state, step=step, loss=loss)
        best = min(losses[:step])
        assert state.best_loss == best
        assert state.best_step == losses.index(best) + 1
        assert should_stop(state, plan) == (step - losses.index(best) - 1 >= patience)
    assert state == EvaluationState.after(enumerate(losses, start=1))
