"""The method of a run: its coefficients, its learning rate, its rows, and what does not go with it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from backprop.plan.decision import Decision, Problem, Refused
from backprop.plan.facts.dataset import DatasetFacts, Ratings, RowCount
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.lora import AdapterInit
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.training import TrainMode
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.arguments import loss_arguments
from backprop.plan.training.kto_balance import plan_balance
from backprop.plan.training.objective import check_objective
from backprop.plan.training.plan import TrainPlan, plan_train
from tests.plan.training.worlds import dataset, from_flags, planned, settings, tokens, world

PREFERENCE = (Objective.ORPO, Objective.SIMPO, Objective.KTO)


def data_for(method: Objective, **changes: Any) -> DatasetFacts:
    ratings = Ratings(desirable=55, undesirable=45) if method is Objective.KTO else None
    return dataset(**{"ratings": ratings, **changes})


def plan_of(method: Objective, *, data: DatasetFacts | None = None, **training: Any) -> TrainPlan:
    facts = world(data=data or data_for(method))
    return planned(settings(training={"method": method, **training}), facts)


def problems_of(method: Objective, *, data: DatasetFacts | None = None, **groups: Any) -> tuple[Problem, ...]:
    asked = settings(**{**groups, "training": {"method": method, **groups.get("training", {})}})
    plan = plan_train(asked, world(data=data or data_for(method)), origins=Origins())
    return plan.problems if isinstance(plan, Refused) else plan.warnings


def test_each_method_has_its_own_coefficients_and_no_others() -> None:
    arguments = {method: loss_arguments(plan_of(method)) for method in Objective}
    assert arguments == {
        Objective.SFT: {},
        Objective.ORPO: {"beta": 0.1},
        Objective.SIMPO: {"beta": 2.0, "gamma": 1.0},
        Objective.KTO: {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0},
    }


@pytest.mark.parametrize(
    ("method", "asked", "taken"),
    [
        (Objective.ORPO, None, 8e-6),
        (Objective.ORPO, 1e-3, 1e-3),
        (Objective.SIMPO, None, 1e-6),
        (Objective.SIMPO, 9.9e-6, 9.9e-6),
        (Objective.SIMPO, 1e-5, 1e-6),
        (Objective.KTO, None, 1e-6),
        (Objective.KTO, 4.9e-6, 4.9e-6),
        (Objective.KTO, 5e-6, 1e-6),
        (Objective.SFT, None, 2e-4),
    ],
)
def test_a_rate_is_the_methods_own_or_the_users_up_to_the_clamp(
    method: Objective, asked: float | None, taken: float
) -> None:
    plan = plan_of(method, learning_rate=asked)
    assert plan.learning_rate.peak.value == taken
    told = [problem.message for problem in plan.warnings if "learning rate is" in problem.message]
    assert len(told) == (asked not in (None, taken))
    if told:
        assert plan.learning_rate.peak.rule == f"clamp of {method.value}"
        assert f"not {asked:g}" in told[0]


@pytest.mark.parametrize(("gamma", "warns"), [(1.0, False), (2.0, False), (2.1, True)])
def test_a_margin_larger_than_beta_is_warned_of(gamma: float, warns: bool) -> None:
    messages = [problem.message for problem in plan_of(Objective.SIMPO, simpo_gamma=gamma).warnings]
    assert any("gamma / beta" in message for message in messages) == warns


@pytest.mark.parametrize("method", PREFERENCE)
def test_judged_answers_are_not_packed(method: Objective) -> None:
    plan = plan_of(method)
    assert not plan.batch.packing.value
    assert plan.batch.packing.rule == f"method {method.value}"
    assert plan.length.sequences == data_for(method).rows


@pytest.mark.parametrize(("asked", "taken"), [(None, 2), (1, 2), (3, 3)])
def test_kto_takes_two_rows_at_once_at_least(asked: int | None, taken: int) -> None:
    batch = plan_of(Objective.KTO, per_device_train_batch_size=asked).batch
    assert batch.micro_batch.value == taken
    assert (batch.micro_batch.rule == "fewest of the method") == (taken == 2)


@pytest.mark.parametrize("method", PREFERENCE)
def test_every_weight_is_not_trained_by_preference(method: Objective) -> None:
    problems = problems_of(method, training={"mode": TrainMode.FULL})
    assert any("trains an adapter, not every weight" in problem.message for problem in problems)


@pytest.mark.parametrize(
    ("desirable", "undesirable", "weights", "warns"),
    [
        (100, 100, (1.0, 1.0), False),
        (133, 100, (1.0, 1.0), False),
        (400, 300, (1.0, 1.0), False),
        (50, 100, (2.0, 1.0), False),
        (200, 100, (1.0, 1.5), False),
        (10, 100, (10.0, 1.0), False),
        (5, 100, (10.0, 1.0), True),
        (4000, 100, (1.0, 10.0), True),
    ],
)
def test_one_weight_is_raised_until_both_sides_count_alike(
    desirable: int, undesirable: int, weights: tuple[float, float], warns: bool
) -> None:
    one = Decision(1.0, "default", "")
    good, bad = plan_balance(one, one, num_desirable=desirable, num_undesirable=undesirable)
    assert (good.value, bad.value) == pytest.approx(weights)
    data = data_for(Objective.KTO, ratings=Ratings(desirable, undesirable))
    assert any("outside of 1 to 4/3" in p.message for p in problems_of(Objective.KTO, data=data)) == warns


def test_the_weights_asked_for_are_where_the_balance_begins() -> None:
    data = data_for(Objective.KTO, ratings=Ratings(100, 100))
    objective = plan_of(Objective.KTO, data=data, kto_desirable_weight=4.0).objective
    assert objective.desirable_weight is not None
    assert objective.undesirable_weight is not None
    assert objective.desirable_weight.value == 4.0
    assert objective.undesirable_weight.value == pytest.approx(3.0)
    assert objective.undesirable_weight.rule == "KTO balance"


@pytest.mark.parametrize(("ratings", "missing"), [(Ratings(100, 0), "label: false"), (Ratings(0, 100), "label: true")])
def test_labels_of_one_kind_are_refused(ratings: Ratings, missing: str) -> None:
    problems = problems_of(Objective.KTO, data=data_for(Objective.KTO, ratings=ratings))
    (found,) = [problem for problem in problems if problem.code == "INPUT_DATASET_INVALID"]
    assert missing in found.hint


def test_settings_of_another_method_are_named() -> None:
    messages = [p.message for p in problems_of(Objective.ORPO, training={"simpo_beta": 3.0})]
    assert "--simpo-beta has no effect with --method orpo." in messages
    origins = from_flags(data__packing="--packing")
    plan = planned(settings(training={"method": Objective.ORPO}), world(), origins)
    assert "--packing has no effect with --method orpo." in [p.message for p in plan.warnings]
    assert problems_of(Objective.ORPO) == ()


def test_rows_that_are_too_long_are_left_out_and_said_to_be() -> None:
    for method, what in ((Objective.ORPO, "are left out"), (Objective.SFT, "lose their end")):
        data = data_for(method, tokens=tokens(truncated=RowCount(5, "rows.jsonl:1: long")))
        (found,) = [p for p in problems_of(method, data=data) if p.code == "INPUT_TARGETS_TRUNCATED"]
        assert what in found.message


@pytest.mark.parametrize("method", Objective)
@pytest.mark.parametrize(
    ("asked", "flag"),
    [
        (settings(training={"fp8": True}), "--fp8"),
        (settings(data={"reasoning_trace": True}), "--reasoning-trace"),
    ],
)
def test_what_is_carried_out_for_sft_alone_is_refused(method: Objective, asked: TrainSettings, flag: str) -> None:
    of_method = attrs.evolve(asked, training=attrs.evolve(asked.training, method=method))
    refused = [problem.where for problem in check_objective(of_method, origins=Origins())]
    assert refused == ([flag] if method in PREFERENCE else [])


@pytest.mark.parametrize("start", [AdapterInit.PISSA, AdapterInit.LOFTQ])
@pytest.mark.parametrize("method", PREFERENCE)
def test_a_start_that_changes_the_base_is_refused_where_the_base_is_the_reference(
    method: Objective, start: AdapterInit
) -> None:
    asked = settings(training={"method": method}, lora={"init_lora_weights": start})
    refused = [problem.where for problem in check_objective(asked, origins=Origins())]
    assert refused == (["--init-lora-weights"] if method is Objective.KTO else [])
