"""What a finished run hands over is its checkpoint's weights and the model's own files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from backprop.effects.files.atomic import PARTIAL
from backprop.effects.store.handover import hand_over_adapter, hand_over_model
from backprop.plan.errors import BackpropError
from backprop.plan.export.card import Card
from backprop.plan.facts.model_files import TOKENIZER_FILES


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Any]:
    checkpoint, model, run = (tmp_path / name for name in ("checkpoint-3", "base", "run"))
    for directory in (checkpoint, model, run):
        directory.mkdir()
    for name in (
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ):
        (checkpoint / name).write_text(f"trained {name}")
    (checkpoint / "optimizer.pt").write_text("states")
    (checkpoint / "config.json").write_text('{"use_cache": false}')
    (model / "config.json").write_text('{"model_type": "llama", "torch_dtype": "float16", "use_cache": true}')
    (model / "model.safetensors").write_text("untrained")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "modeling_own.py"):
        (model / name).write_text(f"own {name}")
    return {"run_dir": run, "checkpoint": checkpoint, "model_dir": model}


def handed_over(run_dir: Path, **rest: Any) -> Path:
    return hand_over_model(run_dir, **rest, chat_template="{{ mine }}", card=Card("# Card"), dtype="bfloat16")


def test_a_model_has_the_trained_weights_and_everything_else_as_it_was(places: dict[str, Any]) -> None:
    model = handed_over(**places)
    assert model == places["run_dir"] / "model"
    assert sorted(p.name for p in model.iterdir()) == [
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "modeling_own.py",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert json.loads((model / "config.json").read_text()) == {
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }
    assert (model / "generation_config.json").read_text() == "own generation_config.json"
    assert (model / "chat_template.jinja").read_text() == "{{ mine }}"


def test_weights_take_no_space_twice_and_outlive_their_checkpoint(places: dict[str, Any]) -> None:
    weights = handed_over(**places) / "model-00001-of-00002.safetensors"
    trained = places["checkpoint"] / weights.name
    assert weights.samefile(trained)
    trained.unlink()
    assert weights.read_text() == f"trained {weights.name}"


def test_where_there_are_no_links_weights_are_copied(places: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: Any) -> None:
        raise OSError("the file system has no hard links")

    monkeypatch.setattr(os, "link", no_links)
    weights = handed_over(**places) / "model-00002-of-00002.safetensors"
    trained = places["checkpoint"] / weights.name
    assert not weights.samefile(trained)
    assert weights.read_bytes() == trained.read_bytes()


@pytest.mark.parametrize("template", ["{{ mine }}\r\n", "{{ mine }}", "{{ another }}"])
def test_the_tokenizers_files_stay_byte_for_byte_but_for_a_template_that_was_chosen(
    places: dict[str, Any], template: str
) -> None:
    own = {name: os.urandom(99) for name in TOKENIZER_FILES} | {"chat_template.jinja": b"{{ mine }}\r\n"}
    for name, content in own.items():
        (places["model_dir"] / name).write_bytes(content)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (places["checkpoint"] / name).write_text("trained")
    adapter = hand_over_adapter(**places, chat_template=template, card=Card("# Card"))
    if template == "{{ another }}":
        own["chat_template.jinja"] = template.encode()
    assert {name: (adapter / name).read_bytes() for name in own} == own


def test_nothing_half_written_stays_of_an_adapter_that_could_not_be_put_together(places: dict[str, Any]) -> None:
    run = places["run_dir"]
    (places["checkpoint"] / "adapter_model.safetensors").write_text("trained")
    with pytest.raises(BackpropError, match="adapter cannot be written"):
        hand_over_adapter(**places, chat_template=None, card=Card("# Card"))
    assert [path.name for path in run.iterdir() if path.name.startswith(PARTIAL)] == []
