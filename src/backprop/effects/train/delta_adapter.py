"""An adapter that says what training changed: trained factors beside the first ones, subtracted.

A run that begins with PiSSA or LoftQ changes the frozen weights, so its own factors fit no other base. Written are
s·(B·A − B₀·A₀) = s·[B, −B₀]·[A; A₀], an ordinary adapter of twice the rank for the model as it is
(arXiv:2404.02948, appendix C); both halves are read back as they were.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from backprop.effects.train.decomposition import Factors
from backprop.effects.train.first_weights import ADAPTER_NAME, FirstWeights
from backprop.plan.training.adapter import AdapterPlan

WEIGHTS_FILE = "adapter_model.safetensors"
_A, _B = ".lora_A.weight", ".lora_B.weight"


def save_delta(adapter: AdapterPlan, model: PeftModel, first: FirstWeights, directory: Path) -> None:
    """Write weights and configuration that plain PEFT loads onto the model as it is."""
    state = get_peft_model_state_dict(model, adapter_name=ADAPTER_NAME, save_embedding_layers=False)
    directory.mkdir(parents=True, exist_ok=True)
    save_file(delta_state(state, first.factors), directory / WEIGHTS_FILE, metadata={"format": "pt"})
    first.save_taken(directory)
    config = copy.deepcopy(model.peft_config[ADAPTER_NAME])
    config.r = 2 * adapter.rank.value
    config.lora_alpha = config.r * adapter.scale
    config.use_rslora = False
    config.inference_mode = True
    config.save_pretrained(str(directory))


def delta_state(state: Mapping[str, torch.Tensor], first: Mapping[str, Factors]) -> dict[str, torch.Tensor]:
    """PEFT's tensors of the adapter with the first factors beside the trained ones; others are left alone."""
    found: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if name.endswith(_A):
            found[name] = torch.cat([tensor, first[name.removesuffix(_A)][0].to(tensor)])
        elif name.endswith(_B):
            found[name] = torch.cat([tensor, -first[name.removesuffix(_B)][1].to(tensor)], dim=1)
        else:
            found[name] = tensor.contiguous()
    return found


def first_factors(checkpoint: Path, rank: int) -> dict[str, Factors]:
    """The first factors that a written adapter holds, float32."""
    state = load_file(checkpoint / WEIGHTS_FILE)
    names = [name.removesuffix(_A) for name in state if name.endswith(_A)]
    return {name: (state[name + _A][rank:].float(), -state[name + _B][:, rank:].float()) for name in names}


def load_trained(model: PeftModel, checkpoint: Path, rank: int) -> None:
    """Put the trained half of a written adapter into the model."""
    state = load_file(checkpoint / WEIGHTS_FILE)
    trained = {
        name: tensor[:rank] if name.endswith(_A) else tensor[:, :rank] if name.endswith(_B) else tensor
        for name, tensor in state.items()
    }
    set_peft_model_state_dict(model, trained, adapter_name=ADAPTER_NAME)
