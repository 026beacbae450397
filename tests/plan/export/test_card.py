"""What a model card says of what was trained."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from backprop.plan.export.card import model_card
from backprop.plan.facts.model import ModelSource
from backprop.plan.settings.training import TrainMode
from tests.plan.training.worlds import planned, settings, world


def card(**groups: dict[str, Any]) -> str:
    plan = planned(settings(**groups), world())
    on_hub = attrs.evolve(plan, model=attrs.evolve(plan.model, source=ModelSource.HUB))
    return model_card(on_hub, run_id="20261124-193802-k3f9", steps_done=7, last_loss=1.25, best_loss=None)


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({}, ("library_name: peft", "- lora", "| LoRA | rank 256", "AutoPeftModelForCausalLM")),
        ({"lora": {"use_dora": True}}, ("- dora", "| DoRA | rank 256")),
        (
            {"training": {"mode": TrainMode.FULL}},
            (
                "library_name: transformers",
                "- full-fine-tuning",
                "| Trained | every weight, 134,515,008 parameters |",
                "| Weights | float32 |",
                "AutoModelForCausalLM",
            ),
        ),
    ],
)
def test_a_card_names_what_was_trained_and_how_it_is_used(groups: dict[str, Any], words: tuple[str, ...]) -> None:
    text = card(**groups)
    assert text.startswith('---\nbase_model: "HuggingFaceTB/SmolLM2-135M-Instruct"\n')
    for word in (*words, "1.2500 nats"):
        assert word in text


def test_the_card_of_a_whole_model_speaks_of_no_adapter() -> None:
    text = card(training={"mode": TrainMode.FULL}).lower()
    assert "lora" not in text
    assert "peft" not in text
