"""An adapter's first weights out of the model's own: PiSSA's principal directions, LoftQ's loss by quantization."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_bnb_weight
from safetensors.torch import load_file, save_file

from backprop.effects.train.decomposition import Factors, principal_factors
from backprop.effects.train.stored_weights import StoredWeights
from backprop.plan.settings.lora import AdapterInit
from backprop.plan.training.adapter import AdapterPlan

ADAPTER_NAME = "default"
WRAPPER = "base_model.model."
"""What PEFT puts before the names of a model's modules."""
TAKEN_FILE = "taken_before_quantization.safetensors"
"""Beside a LoftQ adapter in its checkpoints: the factors whose product was taken off before the last quantization."""


@attrs.frozen(eq=False)
class FirstWeights:
    """The first factors of each adapted layer, and those whose product was taken off its frozen weight."""

    factors: Mapping[str, Factors]
    """By the layer's name in the wrapped model; float32, in host memory."""
    taken: Mapping[str, Factors]
    """Empty of a layer whose frozen weight is as it was."""

    def save_taken(self, directory: Path) -> None:
        """Write what a checkpoint needs besides the adapter to set the frozen weights again."""
        apart = {name: pair for name, pair in self.taken.items() if pair is not self.factors[name]}
        tensors = {f"{name}.{part}": t for name, pair in apart.items() for part, t in zip("AB", pair, strict=True)}
        if tensors:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, directory / TAKEN_FILE)


def compute_first_weights(
    adapter: AdapterPlan, model: PeftModel, model_dir: str, *, device: torch.device
) -> FirstWeights:
    """Decompose each adapted weight on ``device``, one at a time. Raises ``BackpropError`` DEP_MODEL_LOAD_FAILED."""
    assert adapter.initial is not None
    decompose = _FIRST[adapter.initial.kind.value]
    stored = StoredWeights(model_dir)
    factors: dict[str, Factors] = {}
    taken: dict[str, Factors] = {}
    for number, (name, layer) in enumerate(adapted_layers(model)):
        base = layer.get_base_layer()
        weight = _original(name, base, stored).to(device, torch.float32)
        first, off = decompose(weight, _Layer(adapter, base, layer, seed=adapter.seed + number))
        factors[name] = _on_host(first)
        if off is not None:
            taken[name] = factors[name] if off is first else _on_host(off)
    return FirstWeights(factors, taken)


def read_first_weights(adapter: AdapterPlan, checkpoint: Path, factors: Mapping[str, Factors]) -> FirstWeights:
    """The first weights of an interrupted run: its ``factors``, and what was taken off by their kind."""
    assert adapter.initial is not None
    if adapter.initial.kind.value is AdapterInit.PISSA:
        return FirstWeights(factors, factors)
    stored = load_file(checkpoint / TAKEN_FILE) if (checkpoint / TAKEN_FILE).is_file() else {}
    names = {key.rpartition(".")[0] for key in stored}
    return FirstWeights(factors, {name: (stored[f"{name}.A"], stored[f"{name}.B"]) for name in names})


def set_first_weights(
    adapter: AdapterPlan, model: PeftModel, model_dir: str, first: FirstWeights, *, device: torch.device
) -> None:
    """Put the factors into the adapter, and take what belongs to them off the frozen weights, in place."""
    stored = StoredWeights(model_dir)
    for name, layer in adapted_layers(model):
        base = layer.get_base_layer()
        if name in first.taken:
            weight = _original(name, base, stored).to(device, torch.float32)
            _freeze(base, weight - _product(first.taken[name], adapter.scale, device))
        for inner, factor in zip((layer.lora_A, layer.lora_B), first.factors[name], strict=True):
            parameter = inner[ADAPTER_NAME].weight
            parameter.data.copy_(factor)
        if adapter.use_dora:
            _renew_magnitude(layer, base)


def adapted_layers(model: PeftModel) -> Iterator[tuple[str, Any]]:
    """(name, layer) of every layer that carries the adapter."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and ADAPTER_NAME in module.lora_A:
            yield name, module


@attrs.frozen(eq=False)
class _Layer:
    """What a decomposition needs to know of the layer besides its weight."""

    adapter: AdapterPlan
    base: Any
    lora: Any
    seed: int

    def factors(self, matrix: torch.Tensor) -> Factors:
        """The principal factors of the adapter's rank, in numbers that the adapter can hold.

        Where the matrix has fewer directions than the rank, the others begin as LoRA's do: A random, B zero.
        """
        scale, rank = self.adapter.scale, self.adapter.rank.value
        a, b = principal_factors(matrix, rank, scale=scale, seed=self.seed)
        rest = self.lora.lora_A[ADAPTER_NAME].weight.detach()[len(a) :].to(a)
        a, b = torch.cat([a, rest]), torch.nn.functional.pad(b, (0, len(rest)))
        # TRL holds adapters over 4-bit weights in bfloat16.
        return _rounded(a, b) if _is_4bit(self.base) else (a, b)


def _pissa(weight: torch.Tensor, layer: _Layer) -> tuple[Factors, Factors | None]:
    """arXiv:2404.02948: the adapter takes the principal directions, the frozen weight keeps the rest."""
    first = layer.factors(weight)
    return first, first


def _loftq(weight: torch.Tensor, layer: _Layer) -> tuple[Factors, Factors | None]:
    """arXiv:2310.08659, algorithm 1: quantize what the factors do not hold, decompose what quantization loses."""
    assert layer.adapter.initial is not None
    taken: Factors | None = None
    first: Factors | None = None
    for _ in range(layer.adapter.initial.iterations):
        taken = first
        left = weight if taken is None else weight - _product(taken, layer.adapter.scale, weight.device)
        first = layer.factors(weight - _dequantized(_quantized(layer.base, left)).to(weight))
    assert first is not None
    return first, taken


_FIRST: Mapping[AdapterInit, Callable[[torch.Tensor, _Layer], tuple[Factors, Factors | None]]] = {
    AdapterInit.PISSA: _pissa,
    AdapterInit.LOFTQ: _loftq,
}


def _original(name: str, base: Any, stored: StoredWeights) -> torch.Tensor:
    """The weight (out, in) before quantization, in the format that it is loaded in."""
    if not _is_4bit(base):
        weight: torch.Tensor = base.weight.data
        return weight
    return stored.read(f"{name.removeprefix(WRAPPER)}.weight").to(base.weight.quant_state.dtype)


def _product(factors: Factors, scale: float, device: torch.device) -> torch.Tensor:
    a, b = (factor.to(device) for factor in factors)
    return scale * (b @ a)


def _freeze(base: Any, weight: torch.Tensor) -> None:
    """Let ``weight`` be the layer's, in the format and the place of the one that it has."""
    if _is_4bit(base):
        base.weight = _quantized(base, weight).to(base.weight.device)
    else:
        base.weight.data.copy_(weight)


def _is_4bit(base: Any) -> bool:
    return getattr(base.weight, "quant_state", None) is not None


def _quantized(base: Any, weight: torch.Tensor) -> Any:
    """``weight`` as bitsandbytes holds that of ``base``; where it lies it is quantized."""
    like = base.weight
    parameter = type(like)(
        weight.to(like.quant_state.dtype),
        requires_grad=False,
        blocksize=like.blocksize,
        compress_statistics=like.compress_statistics,
        quant_type=like.quant_type,
        quant_storage=like.quant_storage,
    )
    return parameter.to(weight.device)


def _dequantized(parameter: Any) -> torch.Tensor:
    weight: torch.Tensor = dequantize_bnb_weight(parameter)
    return weight


def _rounded(a: torch.Tensor, b: torch.Tensor) -> Factors:
    return a.bfloat16().float(), b.bfloat16().float()


def _on_host(factors: Factors) -> Factors:
    return factors[0].cpu().contiguous(), factors[1].cpu().contiguous()


def _renew_magnitude(layer: Any, base: Any) -> None:
    """DoRA's magnitudes are the lengths of the rows of what the run begins with."""
    layer.lora_magnitude_vector[ADAPTER_NAME].update_layer(
        base_layer=base,
        lora_A=layer.lora_A[ADAPTER_NAME].weight,
        lora_B=layer.lora_B[ADAPTER_NAME].weight,
        scaling=layer.scaling[ADAPTER_NAME],
    )
