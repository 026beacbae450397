"""Names that are safe everywhere, and the card of an export."""

from __future__ import annotations

import pytest
import yaml  # type: ignore[import-untyped]

from backprop.plan.export.request import check_request, export_card, safe_name
from backprop.plan.export.sources import adapter_facts
from backprop.plan.settings.verbs.export import ExportFormat, ExportSettings

CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("my-run", "my-run"),
        ("Größe: 3/4", "Groe-3-4"),
        ("../../etc/passwd", "etc-passwd"),
        (".hidden", "hidden"),
        ("con", "model-con"),
        ("COM1.gguf", "model-COM1.gguf"),
        ("模型", "model"),
        ("", "model"),
    ],
)
def test_a_name_is_safe_on_every_system(text: str, name: str) -> None:
    assert safe_name(text) == name


def test_the_card_names_the_base_on_the_hub_and_keeps_directories_to_itself() -> None:
    for base, metadata, told in (
        ("owner/model", "owner/model", "base owner/model"),
        ("/home/me/secret/model", None, "base model."),
        (None, None, "LoRA adapter."),
    ):
        adapter = adapter_facts("/a", {**CONFIG, "base_model_name_or_path": base}, ())
        card = export_card(ExportFormat.LORA, adapter, name="n")
        header = yaml.safe_load(card.split("---")[1])
        assert header.get("base_model") == metadata
        assert header["library_name"] == "peft"
        assert told in card
        assert "secret" not in card


def test_a_request_without_flags_is_fine() -> None:
    assert check_request(ExportSettings(path="x")) == ()
