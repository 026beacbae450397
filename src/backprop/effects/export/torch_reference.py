"""The model as torch computes it, adapter and base apart: what an export is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from backprop.effects.quiet import quiet_libraries


def next_token_logits(
    base: str, adapter: str | None, prompts: Sequence[Sequence[int]]
) -> list[npt.NDArray[np.float64]]:
    """After each prompt of ids, (vocabulary,), in float32 on the CPU."""
    with quiet_libraries():
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
        if adapter is not None:
            model = PeftModel.from_pretrained(model, adapter)
    model.eval()
    with torch.inference_mode():
        return [model(torch.tensor([list(ids)])).logits[0, -1].double().numpy() for ids in prompts]
