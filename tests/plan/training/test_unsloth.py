"""Unsloth is used where it is installed, on a card, for a plain adapter, unless the user does without."""

from __future__ import annotations

from typing import Any

import pytest

from backprop.plan.memory.objective import Objective
from backprop.plan.settings.lora import AdapterInit
from backprop.plan.settings.training import TrainMode
from tests.plan.training.worlds import INSTALLED, card, from_flags, planned, settings, world

WITH_UNSLOTH = (*INSTALLED, ("unsloth", "2026.1"), ("bitsandbytes", "0.50"))


def test_unsloth_is_used_where_it_is_installed_on_a_card() -> None:
    plan = planned(settings(), world(hardware=card(24), packages=WITH_UNSLOTH))
    assert plan.unsloth is not None
    assert plan.unsloth.value


@pytest.mark.parametrize(
    "groups",
    [
        {"training": {"use_unsloth": False}},
        {"training": {"mode": TrainMode.FULL}},
        {"lora": {"use_dora": True}},
        {"lora": {"init_lora_weights": AdapterInit.PISSA}, "model": {"load_in_4bit": False}},
        {"training": {"fp8": True}},
        {"training": {"method": Objective.ORPO}},
    ],
)
def test_it_is_not_used_against_the_user_or_where_it_does_not_fit(groups: dict[str, Any]) -> None:
    plan = planned(settings(**groups), world(hardware=card(48), packages=WITH_UNSLOTH))
    assert plan.unsloth is not None
    assert not plan.unsloth.value


def test_rows_are_not_packed_where_unsloth_is_used() -> None:
    plan = planned(settings(), world(hardware=card(24), packages=WITH_UNSLOTH))
    assert (plan.batch.packing.value, plan.batch.packing.rule) == (False, "Unsloth")
    without = planned(settings(training={"use_unsloth": False}), world(hardware=card(24), packages=WITH_UNSLOTH))
    assert without.batch.packing.value


def test_who_asks_for_packing_goes_without_unsloth() -> None:
    facts = world(hardware=card(24), packages=WITH_UNSLOTH)
    plan = planned(settings(), facts, from_flags(data__packing="--packing"))
    assert plan.unsloth is not None
    assert (plan.unsloth.value, plan.unsloth.rule) == (False, "packing")
    assert plan.batch.packing.value


def test_nothing_is_said_of_it_without_a_card_or_where_it_is_missing() -> None:
    assert planned(settings(), world(packages=WITH_UNSLOTH)).unsloth is None
    assert planned(settings(), world(hardware=card(24))).unsloth is None
