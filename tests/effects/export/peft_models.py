"""Tiny models and adapters of every kind, made with transformers and PEFT, and what PEFT makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tests.tiny import make_tiny_model


def make_model(directory: Path, *, dtype: str = "float32", shard_size: str = "5GB", **shape: Any) -> Path:
    """As :func:`tests.tiny.make_tiny_model`, in a type of choice, with other shapes, in shards."""
    make_tiny_model(directory)
    given = AutoConfig.from_pretrained(directory).to_dict()
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**{**given, **shape})).to(getattr(torch, dtype))
    (directory / "model.safetensors").unlink()
    model.save_pretrained(directory, max_shard_size=shard_size)
    return directory


def make_adapter(base: Path, directory: Path, *, seed: int = 3, **config: Any) -> Path:
    """An adapter that changes something: no matrix of it is zero."""
    torch.manual_seed(seed)
    settings = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], **config}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype="auto"), LoraConfig(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(directory)
    return directory


def merged_by_peft(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """The tensors of ``merge_and_unload`` in the base's type."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return dict(merged.state_dict())


def logits_of(model: Any) -> torch.Tensor:
    """What a model says of a fixed prompt."""
    with torch.no_grad():
        found: torch.Tensor = model.eval()(torch.arange(3, 23)[None]).logits
    return found
