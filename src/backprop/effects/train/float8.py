"""Frozen linear layers held in float8 and multiplied in it, through torchao; adapters stay as they are."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

WEIGHT_FORMAT = torch.float8_e4m3fn
"""Of weights and inputs: three bits of mantissa."""
GRADIENT_FORMAT = torch.float8_e5m2
"""Of gradients: a wider range (arXiv:2209.05433)."""
RESULT_FORMAT = torch.bfloat16


class Float8Frozen(torch.nn.Module):
    """A linear layer that is not trained, with one scale for its weight; the bias stays as it was.

    Gradients go through to the input alone.
    """

    data: torch.Tensor
    scale: torch.Tensor

    def __init__(self, linear: torch.nn.Linear, torchao: _Torchao, *, device: torch.device) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._torchao = torchao
        held = torchao.cast(linear.weight.detach().to(device, RESULT_FORMAT), WEIGHT_FORMAT, "WEIGHT")
        self.register_buffer("data", held._data, persistent=False)
        self.register_buffer("scale", held._scale, persistent=False)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(…, in) -> (…, out), in the format that ``torch.nn.Linear`` answers in."""
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        rows = x.reshape(-1, self.in_features).to(RESULT_FORMAT)
        result: torch.Tensor = _Product.apply(rows, self.data, self.scale, self._torchao)  # type: ignore[no-untyped-call]
        if self.bias is not None:
            result = result + self.bias.to(result.dtype)
        return result.to(dtype).reshape(*x.shape[:-1], self.out_features)


class _Product(torch.autograd.Function):
    """x·Wᵀ and, backward, g·W; x and g are cast with a scale of their own each time."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, data: torch.Tensor, scale: torch.Tensor, torchao: _Torchao) -> torch.Tensor:
        ctx.save_for_backward(data, scale)
        ctx.torchao = torchao
        weight = torchao.weight(data, scale)
        product: torch.Tensor = torch.mm(torchao.cast(x, WEIGHT_FORMAT, "INPUT"), weight.t())
        return product

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        data, scale = ctx.saved_tensors
        torchao: _Torchao = ctx.torchao
        gradient = torchao.cast(gradients[0].contiguous(), GRADIENT_FORMAT, "GRAD_OUTPUT")
        return torch.mm(gradient, torchao.weight(data, scale)), None, None, None


class _Torchao:
    """The parts of torchao that are used. Raises ``BackpropError`` RUNTIME_FP8_UNSUPPORTED where it is broken."""

    def __init__(self) -> None:
        try:
            tensors = importlib.import_module("torchao.float8.float8_training_tensor")
            scaling = importlib.import_module("torchao.float8.float8_scaling_utils")
            one = tensors.ScaledMMConfig(False, True, False, False)
            self._products = tensors.LinearMMConfig(one, one, one)
            self._tensor, self._roles = tensors.Float8TrainingTensor, tensors.GemmInputRole
            self._cast = scaling.hp_tensor_to_float8_dynamic
        except Exception as broken:
            raise _unsupported(f"torchao cannot be loaded: {broken}") from broken

    def cast(self, tensor: torch.Tensor, format: torch.dtype, role: str) -> Any:
        """``tensor`` with one dynamic scale."""
        return self._cast(tensor, format, self._products, gemm_input_role=self._roles[role])

    def weight(self, data: torch.Tensor, scale: torch.Tensor) -> Any:
        """A weight that was cast before."""
        return self._tensor(data, scale, RESULT_FORMAT, self._products, gemm_input_role=self._roles.WEIGHT)


def hold_in_float8(model: PeftModel, layers: tuple[str, ...], *, device: torch.device) -> None:
    """Replace the frozen linear layers of these names, with or without an adapter, in place; the rest stays.

    Raises ``BackpropError`` RUNTIME_FP8_UNSUPPORTED.
    """
    torchao = _Torchao()
    for path, module in list(model.named_modules()):
        parent, _, name = path.rpartition(".")
        if name not in layers:
            continue
        if isinstance(module, LoraLayer):
            module.base_layer = Float8Frozen(module.base_layer, torchao, device=device)
        elif isinstance(module, torch.nn.Linear):
            setattr(model.get_submodule(parent), name, Float8Frozen(module, torchao, device=device))


def _unsupported(reason: str) -> BackpropError:
    return BackpropError(Problem("RUNTIME_FP8_UNSUPPORTED", f"float8 weights cannot be used: {reason}", where="--fp8"))
