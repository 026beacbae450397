"""What a model card says of what was trained."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import attrs
import pytest
import yaml  # type: ignore[import-untyped]
from huggingface_hub import ModelCard

from backprop.plan.export.card import LOSS_IMAGE, Card, Shape, model_card
from backprop.plan.export.trained import Trained
from backprop.plan.facts.model import ModelSource
from backprop.plan.runs.record import GivenSetting
from backprop.plan.settings.resolve import Source
from backprop.plan.settings.training import TrainMode
from tests.plan.training.worlds import planned, settings, world

RUN = "20261124-193802-k3f9"
LOSSES = ((1, 2.5), (2, 2.0), (3, 1.25))
HELDOUT = ((2, 1.9), (3, 1.5))


def trained(
    *, source: ModelSource = ModelSource.HUB, groups: dict[str, dict[str, Any]] | None = None, **more: Any
) -> Trained:
    plan = planned(settings(**(groups or {})), world())
    plan = attrs.evolve(plan, model=attrs.evolve(plan.model, source=source))
    return Trained(plan, RUN, steps_done=3, **{"losses": LOSSES, **more})


def card(shape: Shape = Shape.ADAPTER, **more: Any) -> Card:
    return model_card(trained(**more), shape=shape)


def metadata(card: Card) -> dict[str, Any]:
    """As YAML reads it; and as the Hub's own client does, which raises for what it does not understand."""
    found: dict[str, Any] = yaml.safe_load(card.text.split("---\n")[1])
    data: Any = ModelCard(card.text).data
    assert data.to_dict()["library_name"] == found["library_name"]
    return found


@pytest.mark.parametrize(
    ("groups", "shape", "words"),
    [
        ({}, Shape.ADAPTER, ("library_name: peft", "- lora", "| LoRA | rank 256", "AutoPeftModelForCausalLM")),
        ({"lora": {"use_dora": True}}, Shape.ADAPTER, ("- dora", "| DoRA | rank 256")),
        ({}, Shape.MERGED, ("library_name: transformers", "- merged", "import AutoModelForCausalLM")),
        ({}, Shape.GGUF, ("library_name: gguf", "- gguf", "llama-cli -m")),
        (
            {"training": {"mode": TrainMode.FULL}},
            Shape.MODEL,
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
def test_a_card_names_what_was_trained_and_how_it_is_used(
    groups: dict[str, Any], shape: Shape, words: tuple[str, ...]
) -> None:
    text = card(shape, groups=groups).text
    assert text.startswith('---\nbase_model: "HuggingFaceTB/SmolLM2-135M-Instruct"\n')
    for word in (*words, "backprop ollama register", f"ollama run {RUN}"):
        assert word in text


def test_the_card_of_a_gguf_adapter_lays_it_over_its_base() -> None:
    text = model_card(trained(), shape=Shape.GGUF_ADAPTER, file="mine-lora.gguf").text
    for word in (
        "library_name: gguf",
        "- gguf",
        "# LoRA adapter, GGUF,",
        "-m BASE --lora path/to/this/directory/mine-lora.gguf",
    ):
        assert word in text
    assert "from_pretrained" not in text


def test_the_card_of_a_whole_model_speaks_of_no_adapter() -> None:
    text = card(Shape.MODEL, groups={"training": {"mode": TrainMode.FULL}}).text.lower()
    assert "lora" not in text
    assert "peft" not in text


@pytest.mark.parametrize("shape", Shape)
def test_the_metadata_is_what_the_hub_takes(shape: Shape) -> None:
    found = metadata(card(shape, heldout_losses=HELDOUT, licence="apache-2.0"))
    assert found["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert found["base_model_relation"] == ("adapter" if "adapter" in shape.value else "finetune")
    assert (found["license"], found["pipeline_tag"]) == ("apache-2.0", "text-generation")


def test_the_evaluation_is_a_result_that_the_hub_shows() -> None:
    data: Any = ModelCard(card(heldout_losses=HELDOUT).text).data
    (result,) = data.eval_results
    assert (result.metric_type, result.metric_value, result.task_type) == ("loss", 1.5, "text-generation")


def test_a_model_of_this_machine_is_not_told_to_the_hub() -> None:
    found = trained(source=ModelSource.DIRECTORY)
    here = attrs.evolve(found.plan.model, name="/home/ann/secret-project/model")
    text = model_card(attrs.evolve(found, plan=attrs.evolve(found.plan, model=here)), shape=Shape.ADAPTER).text
    assert "secret-project" not in text
    assert "base_model" not in text
    assert "| Base model | model |" in text


def test_losses_are_told_in_a_line_and_in_an_image() -> None:
    found = card(heldout_losses=HELDOUT)
    assert "2.5000 █▅▁ 1.2500 nats" in found.text
    assert "Best held-out loss: 1.5000 nats a token, perplexity 4.48, at step 3" in found.text
    assert f"]({LOSS_IMAGE})" in found.text
    image = ElementTree.fromstring(found.loss_image)
    assert image.tag.endswith("svg")
    assert len(image.findall("{*}circle")) == 2
    assert [name for name, _ in found.files] == ["README.md", LOSS_IMAGE]


@pytest.mark.parametrize("losses", [(), ((1, float("nan")),)])
def test_without_losses_there_is_no_image(losses: tuple[tuple[int, float], ...]) -> None:
    found = card(losses=losses)
    assert LOSS_IMAGE not in found.text
    assert [name for name, _ in found.files] == ["README.md"]


def test_nothing_is_said_of_a_licence_that_is_not_known() -> None:
    assert "icen" not in card().text
    assert "That of the base model, apache-2.0." in card(licence="apache-2.0").text


def test_one_command_trains_it_again_and_names_no_directory() -> None:
    given = (
        GivenSetting("training.max_steps", "7", Source.FLAG, "--steps"),
        GivenSetting("data.packing", "false", Source.FLAG, "--no-packing"),
        GivenSetting("data.chat_template", "/home/ann/my template.jinja", Source.FLAG, "--chat-template"),
        GivenSetting("training.output_dir", "/home/ann/out", Source.FLAG, "--output"),
    )
    found = trained(settings=given)
    rows = attrs.evolve(found.plan.data.train, name="/home/ann/rows.jsonl")
    plan = attrs.evolve(found.plan, data=attrs.evolve(found.plan.data, train=rows))
    command = attrs.evolve(found, plan=plan).command
    assert command.startswith("backprop train --model HuggingFaceTB/SmolLM2-135M-Instruct --data rows.jsonl ")
    for word in ("--steps 7", "--no-packing", "--chat-template 'my template.jinja'"):
        assert word in command
    assert "/home/ann" not in command
    assert command in model_card(attrs.evolve(found, plan=plan), shape=Shape.ADAPTER).text


def test_a_single_report_is_no_course() -> None:
    assert "- Training loss: 1.2500 nats a token.\n" in card(losses=LOSSES[2:]).text
