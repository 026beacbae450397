"""A model's weights as they are stored, read one matrix at a time."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open

from backprop.effects.files.json_file import read_object
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError


class StoredWeights:
    """Tensors of the safetensors files in a model's directory, by their name there."""

    def __init__(self, model_dir: str) -> None:
        self._directory = Path(model_dir)
        index = self._directory / "model.safetensors.index.json"
        self._files: dict[str, str] = {}
        if index.is_file():
            files = read_object(index)["weight_map"]
            assert isinstance(files, dict)
            self._files = files

    def read(self, name: str) -> torch.Tensor:
        """One tensor, in host memory. Raises ``BackpropError`` DEP_MODEL_LOAD_FAILED."""
        path = self._directory / self._files.get(name, "model.safetensors")
        if path.is_file():
            with safe_open(str(path), framework="pt") as file:
                if name in file.keys():  # noqa: SIM118 - not a dictionary
                    tensor: torch.Tensor = file.get_tensor(name)
                    return tensor
        raise BackpropError(
            Problem(
                "DEP_MODEL_LOAD_FAILED",
                f"{self._directory} holds no unquantized tensor {name} in safetensors files.",
                where="--init-lora-weights",
                hint="Leave out --init-lora-weights, or pass --no-load-in-4bit with pissa.",
            )
        )
