"""Names that are safe everywhere, and the card of an export."""

from __future__ import annotations

from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from backprop.plan.export.request import check_request, export_card, safe_name
from backprop.plan.export.sources import adapter_facts
from backprop.plan.settings.verbs.export import ExportFormat, ExportSettings, Quantization

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


@pytest.mark.parametrize(
    ("format", "library", "words"),
    [
        (ExportFormat.MERGED, "transformers", ("Model with a LoRA adapter merged in", "AutoModelForCausalLM")),
        (ExportFormat.GGUF, "gguf", ("merged in, in a GGUF file", "- gguf", "llama-cli -m path/to/this/n.gguf")),
        (ExportFormat.OLLAMA_ADAPTER, "gguf", ("LoRA adapter, in a GGUF file", "--lora path/to/this/n.gguf")),
    ],
)
def test_the_card_says_what_the_files_are_and_what_takes_them(
    format: ExportFormat, library: str, words: tuple[str, ...]
) -> None:
    card = export_card(format, adapter_facts("/a", CONFIG, ()), name="n", file="n.gguf" if library == "gguf" else "")
    assert yaml.safe_load(card.split("---")[1])["library_name"] == library
    for word in words:
        assert word in card
    model = export_card(format, None, name="n")
    assert "lora" not in model.lower() or format is ExportFormat.OLLAMA_ADAPTER


def test_a_request_without_flags_is_fine() -> None:
    assert check_request(ExportSettings(path="x")) == ()


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({"quantization": Quantization.Q8_0}, {"--quantization"}),
        ({"ollama": True, "ollama_name": "n"}, {"--ollama"}),
        (
            {"ollama_name": "n", "base_model": "b", "adapter_tag": "t"},
            {"--ollama-name", "--base-model", "--adapter-tag"},
        ),
        ({"register": False}, {"--no-register"}),
        ({"format": ExportFormat.GGUF, "quantization": Quantization.Q8_0}, set()),
        ({"format": ExportFormat.OLLAMA_ADAPTER, "base_model": "b", "adapter_tag": "t"}, set()),
        (
            {"format": ExportFormat.OLLAMA_ADAPTER, "base_model": "b", "adapter_tag": "t", "ollama_name": "n"},
            {"--adapter-tag"},
        ),
        (
            {"format": ExportFormat.OLLAMA_ADAPTER, "register": False, "base_model": "b", "ollama_name": "n"},
            {"--base-model", "--ollama-name"},
        ),
        ({"format": ExportFormat.OLLAMA_ADAPTER, "register": False, "base": "b"}, set()),
    ],
)
def test_a_flag_that_cannot_matter_is_told(fields: dict[str, Any], flags: set[str]) -> None:
    problems = check_request(ExportSettings(path="x", **fields))
    assert {problem.where for problem in problems} == flags
    assert all(problem.hint == "Leave it out." for problem in problems)
