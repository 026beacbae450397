"""The card that training writes goes along to what the run becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from tests.e2e.command import FAST, backprop


def test_an_export_of_a_run_tells_how_it_was_trained(model: str, data: str, tmp_path: Path) -> None:
    trained = backprop("train", "--model", model, "--data", data, "--steps", "4", *FAST, cwd=tmp_path)
    assert trained.code == 0, trained.stderr
    adapter = tmp_path / "output" / "lora"
    assert "![Losses" in (adapter / "README.md").read_text(encoding="utf-8")
    assert (adapter / "loss.svg").read_text(encoding="utf-8").startswith("<svg")

    done = backprop("export", "output", "--format", "merged", "-o", "merged", cwd=tmp_path)
    assert done.code == 0, done.stderr
    text = (tmp_path / "merged" / "README.md").read_text(encoding="utf-8")
    for word in ("# Fine-tuned model merged", "backprop train --model", "--steps 4", "![Losses"):
        assert word in text
    assert str(tmp_path) not in text
    read: Any = ModelCard(text).data
    assert read.library_name == "transformers"
    assert (tmp_path / "merged" / "loss.svg").is_file()

    done = backprop("export", "output", "--format", "merged", "-o", "bare", "--no-model-card", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert not (tmp_path / "bare" / "README.md").exists()
    assert not (tmp_path / "bare" / "loss.svg").exists()
