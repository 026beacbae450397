"""What is said of runs that can be done but perhaps should not be, and of none else."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from backprop.plan.decision import Problem
from backprop.plan.facts.model import ModelFacts
from backprop.plan.settings.data import ChatFormat
from backprop.plan.settings.lora import LoraPreset
from backprop.plan.settings.training import TrainMode
from tests.plan.training.worlds import TOKENIZER, card, dataset, from_flags, planned, settings, tokens, world


def told(facts: Any = None, *, by: dict[str, str] | None = None, **groups: dict[str, Any]) -> list[Problem]:
    return list(planned(settings(**groups), facts or world(), from_flags(**(by or {}))).warnings)


def of_code(code: str, problems: list[Problem]) -> Problem | None:
    return next((problem for problem in problems if problem.code == code), None)


def test_an_ordinary_run_has_no_warning() -> None:
    assert told() == []
    assert told(lora={"r": 192}, by={"lora__r": "--lora-r"}) == []


def test_a_scale_beyond_eight_is_told_with_its_number() -> None:
    (problem,) = told(lora={"r": 16, "lora_alpha": 512.0})
    assert "by 32; 2 is usual" in problem.message
    (problem,) = told(lora={"r": 64, "lora_alpha": 128.0, "use_rslora": True})
    assert "square root of the rank scales the adapter by 16" in problem.message
    assert told(lora={"r": 16, "lora_alpha": 128.0}) == []


def test_a_rank_beyond_the_smaller_side_of_a_layer_is_told_when_it_was_asked_for() -> None:
    # SmolLM2-135M: keys and values are 192 wide.
    (problem,) = told(lora={"r": 200}, by={"lora__r": "--lora-r"})
    assert "Rank 200 is more than k_proj, v_proj can have: their smaller side is 192." in problem.message
    assert "--lora-r 192" in problem.hint
    assert told(lora={"preset": LoraPreset.QUALITY}) == []


def test_more_supervised_tokens_than_an_adapter_stores_are_told_with_both_numbers() -> None:
    # Rank 1 on q and v: 30 layers of 1·(576 + 576) + 1·(576 + 192) parameters, which store two bits each.
    capacity = 2 * 30 * (576 + 576 + 576 + 192)
    lora = {"preset": LoraPreset.FAST, "r": 1}
    enough = {"max_steps": 1000, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
    for supervised, is_told in ((capacity, False), (capacity + 1, True)):
        facts = world(data=dataset(tokens(((300, 1000),), supervised_tokens=supervised)))
        problem = of_code("INPUT_ADAPTER_TOO_SMALL", told(facts, lora=lora, training=enough, data={"packing": False}))
        assert (problem is not None) is is_told
    facts = world(data=dataset(tokens(((300, 1000),), supervised_tokens=capacity + 1)))
    half = {**enough, "max_steps": 500}
    assert of_code("INPUT_ADAPTER_TOO_SMALL", told(facts, lora=lora, training=half, data={"packing": False})) is None


def test_few_rows_gone_through_often_are_told_unless_held_out_rows_watch() -> None:
    few = dataset(tokens(((60, 99),)))
    (problem,) = told(world(data=few), training={"num_train_epochs": 6.0})
    assert problem.code == "INPUT_EPOCHS_MANY"
    assert "99 rows are gone through 6." in problem.message
    (by_default,) = told(world(data=few))
    assert by_default.where == "--steps"
    assert told(world(data=few), training={"num_train_epochs": 4.0}) == []
    assert told(world(data=few, heldout=few), training={"num_train_epochs": 6.0}) == []
    assert told(world(data=dataset(tokens(((60, 1000),)))), training={"num_train_epochs": 6.0}) == []


@pytest.mark.parametrize("rendering", ["raw text", "prompt + completion"])
def test_a_chat_model_on_rows_without_its_template_is_told_unless_plain_text_was_asked_for(rendering: str) -> None:
    facts = world(data=dataset(rendering=rendering))
    (problem,) = told(facts)
    assert problem.code == "INPUT_CHAT_TEMPLATE_UNUSED"
    assert rendering in problem.message
    assert told(facts, data={"chat_format": ChatFormat.RAW}) == []
    bare = attrs.evolve(facts, tokenizer=attrs.evolve(TOKENIZER, chat_template=None))
    assert told(bare) == []


@pytest.mark.parametrize(
    ("licence", "is_told"), [("llama3.1", True), ("cc-by-nc-4.0", True), ("Apache-2.0", False), ("", False)]
)
def test_a_licence_that_binds_is_told(licence: str, is_told: bool) -> None:
    facts = world()
    assert isinstance(facts.model, ModelFacts)
    found = told(attrs.evolve(facts, model=attrs.evolve(facts.model, licence=licence)))
    assert [licence in problem.message for problem in found] == [True] * is_told


def test_full_fine_tuning_has_no_adapter_to_warn_about() -> None:
    facts = world(hardware=card(80), data=dataset(tokens(((300, 1000),), supervised_tokens=300_000)))
    assert told(facts, training={"mode": TrainMode.FULL}) == []
