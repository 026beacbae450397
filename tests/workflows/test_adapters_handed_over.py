"""Every kind of adapter goes from the data to a directory that plain PEFT and transformers load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

from backprop import Trainer
from backprop.plan.facts.model_files import TOKENIZER_FILES
from backprop.plan.settings.lora import AdapterInit
from tests.tiny import make_tiny_model, write_conversations

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": AdapterInit.PISSA},
    "loftq": {"init_lora_weights": AdapterInit.LOFTQ},
    "qdora": {"use_dora": True, "load_in_4bit": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_handed_over_loads_with_the_tokenizer_as_it_was(kind: str, tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    data = write_conversations(tmp_path / "rows.jsonl", rows=8)
    trainer = Trainer(model, output_dir=str(tmp_path / "out"), r=4, learning_rate=1e-2, **KINDS[kind])
    report = trainer.train(data, steps=2)
    assert report.adapter is not None
    adapter = Path(report.adapter)
    own = [name for name in TOKENIZER_FILES if (model / name).is_file()]
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= set(own)
    for name in own:
        assert (adapter / name).read_bytes() == (model / name).read_bytes(), name
    loaded = AutoPeftModelForCausalLM.from_pretrained(adapter)
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    with torch.no_grad():
        logits = loaded(**tokenizer("It is 4", return_tensors="pt")).logits
        with loaded.disable_adapter():
            untouched = loaded(**tokenizer("It is 4", return_tensors="pt")).logits
    assert torch.isfinite(logits).all()
    assert not torch.equal(logits, untouched)
