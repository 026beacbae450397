"""Which element type each tensor gets: llama.cpp's mix for dense models, as a table.

Source: llama.cpp src/llama-quant.cpp, llama_tensor_get_type_impl and tensor_type_fallback.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from backprop.plan.export.gguf.ggml import GgmlType
from backprop.plan.export.gguf.names import EMBEDDING, OUTPUT, kind_of, layer_of
from backprop.plan.settings.verbs.export import Quantization


@attrs.frozen
class Recipe:
    """A quantization: its number in ``general.file_type``, and the type of what is no exception."""

    file_type: int
    base: GgmlType


RECIPES: Mapping[Quantization, Recipe] = {
    Quantization.F16: Recipe(1, GgmlType.F16),
    Quantization.Q8_0: Recipe(7, GgmlType.Q8_0),
    Quantization.Q5_K_M: Recipe(17, GgmlType.Q5_K),
    Quantization.Q4_K_M: Recipe(15, GgmlType.Q4_K),
    Quantization.Q4_0: Recipe(2, GgmlType.Q4_0),
    Quantization.Q2_K: Recipe(10, GgmlType.Q2_K),
}
_FALLBACK: Mapping[GgmlType, GgmlType] = {
    GgmlType.Q2_K: GgmlType.Q4_0,
    GgmlType.Q3_K: GgmlType.Q4_0,
    GgmlType.Q4_K: GgmlType.Q5_0,
    GgmlType.Q5_K: GgmlType.Q5_1,
    GgmlType.Q6_K: GgmlType.Q8_0,
}
"""For rows that are no whole number of super-blocks."""
_VALUES = frozenset({"attn_v", "attn_qkv"})


@attrs.frozen
class MixFacts:
    """What the mix depends on besides a tensor's name and shape."""

    num_layers: int
    num_heads: int
    num_kv_heads: int
    architecture: str
    is_tied: bool
    """No output head of its own: the embedding takes its type."""
    has_k_quants: bool = True
    """ggml's routine is at hand; without it only types that have none are chosen."""

    @property
    def is_70b(self) -> bool:
        """llama.cpp tells its 70B models by their 80 layers; their shared values get more bits."""
        if self.num_layers != 80:
            return False
        return self.architecture == "qwen2" or (self.architecture == "llama" and self.num_heads != self.num_kv_heads)


def type_of(name: str, shape: tuple[int, ...], quantization: Quantization, facts: MixFacts) -> GgmlType:
    """The type of a tensor of the file; ``shape`` ends with the row."""
    if len(shape) < 2 or not name.endswith(".weight") or "norm" in kind_of(name):
        return GgmlType.F32
    base = RECIPES[quantization].base
    if not base.is_quantized:
        return base
    chosen = _chosen(name, shape[-1], quantization, base, facts)
    return chosen if chosen.fits(shape[-1]) else _fallback(chosen, shape[-1])


def _chosen(name: str, row: int, quantization: Quantization, base: GgmlType, facts: MixFacts) -> GgmlType:
    kind = kind_of(name)
    if kind == OUTPUT or (kind == EMBEDDING and facts.is_tied):
        is_small = base is not GgmlType.Q8_0 and base.fits(row) and facts.has_k_quants
        return GgmlType.Q6_K if is_small else GgmlType.Q8_0
    if kind == EMBEDDING:
        return base
    match quantization:
        case Quantization.Q2_K:
            chosen = _two_bits(kind, facts)
        case Quantization.Q4_K_M | Quantization.Q5_K_M if kind in _VALUES or kind == "ffn_down":
            chosen = GgmlType.Q6_K if has_more_bits(layer_of(name), facts.num_layers) else base
        case _:
            chosen = base
    if facts.is_70b and kind in _VALUES and chosen in (GgmlType.Q3_K, GgmlType.Q4_K):
        return GgmlType.Q5_K
    return chosen


def _two_bits(kind: str, facts: MixFacts) -> GgmlType:
    if kind in _VALUES:
        return GgmlType.Q4_K if facts.num_heads // facts.num_kv_heads >= 4 else GgmlType.Q3_K
    return GgmlType.Q3_K if kind in ("ffn_down", "attn_output") else GgmlType.Q2_K


def has_more_bits(layer: int, num_layers: int) -> bool:
    """The first and the last eighth of the layers, and every third between, are the ones that errors hurt most."""
    return layer < num_layers // 8 or layer >= 7 * num_layers // 8 or (layer - num_layers // 8) % 3 == 2


def _fallback(chosen: GgmlType, row: int) -> GgmlType:
    other = _FALLBACK.get(chosen, chosen)
    return other if other.fits(row) else GgmlType.F16


def needs_k_quants(quantization: Quantization) -> bool:
    """Only ggml's routine makes its types."""
    return RECIPES[quantization].base.is_k_quant
