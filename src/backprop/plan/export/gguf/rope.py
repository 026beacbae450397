"""The rotary embedding of a configuration, in either of its two spellings, and the factors that stretch it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from backprop.plan.export.gguf.metadata import Entry, real, text, whole

_SPELLINGS = {"su": "longrope"}
_GEMMA3_LOCAL_THETA = 10_000.0


@attrs.frozen
class Rope:
    """How positions turn queries and keys."""

    theta: float
    kind: str
    """``default``, ``linear``, ``yarn``, ``llama3``, ``longrope``, or what else the configuration says."""
    given: Mapping[str, Any]
    """All of its parameters."""
    local_theta: float | None = None
    """Of layers with a window, where they have their own."""

    def number(self, key: str, default: float) -> float:
        """A parameter."""
        value = self.given.get(key)
        return float(value) if isinstance(value, (int, float)) else default


def rope_of(config: Mapping[str, Any]) -> Rope:
    """The rotary embedding that a text model's configuration describes.

    transformers 5 gathers it in ``rope_parameters``, by kind of layer where they differ; older files have
    ``rope_theta``, ``rope_scaling`` and ``rope_local_base_freq``.
    """
    gathered = config.get("rope_parameters")
    scaling = config.get("rope_scaling")
    given: Mapping[str, Any] = gathered if isinstance(gathered, Mapping) else {}
    local: object = config.get("rope_local_base_freq")
    if isinstance(given.get("full_attention"), Mapping):
        windowed = given.get("sliding_attention")
        local = windowed.get("rope_theta") if isinstance(windowed, Mapping) else None
        given = given["full_attention"]
    if not given and isinstance(scaling, Mapping):
        given = scaling
    kind = str(given.get("rope_type") or given.get("type") or "default")
    is_gemma3 = config.get("model_type") == "gemma3_text"
    theta = given.get("rope_theta", config.get("rope_theta", 1_000_000.0 if is_gemma3 else 10_000.0))
    if is_gemma3 and not isinstance(local, (int, float)):
        local = _GEMMA3_LOCAL_THETA
    return Rope(
        theta=float(theta),
        kind=_SPELLINGS.get(kind, kind),
        given=given,
        local_theta=float(local) if isinstance(local, (int, float)) else None,
    )


def rope_entries(rope: Rope, prefix: str, *, context: int, original_context: int) -> tuple[Entry, ...]:
    """Metadata of the rotary embedding; ``prefix`` is the architecture."""
    entries = [real(f"{prefix}.rope.freq_base", rope.theta)]
    if rope.local_theta is not None:
        entries.append(real(f"{prefix}.rope.freq_base_swa", rope.local_theta))
    scaling = f"{prefix}.rope.scaling"
    if rope.kind in ("linear", "yarn"):
        entries += [text(f"{scaling}.type", rope.kind), real(f"{scaling}.factor", rope.number("factor", 1.0))]
    if rope.kind == "yarn":
        entries.append(whole(f"{scaling}.original_context_length", original_context))
        for ours, theirs in _YARN.items():
            if isinstance(rope.given.get(ours), (int, float)):
                entries.append(real(f"{scaling}.{theirs}", rope.number(ours, 0.0)))
    if rope.kind == "longrope":
        entries += [
            whole(f"{scaling}.original_context_length", original_context),
            real(f"{scaling}.attn_factor", _longrope_attention(rope, context / original_context, original_context)),
        ]
    return tuple(entries)


_YARN = {
    "extrapolation_factor": "yarn_ext_factor",
    "attention_factor": "yarn_attn_factor",
    "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
}


def _longrope_attention(rope: Rope, stretch: float, original_context: int) -> float:
    # LongRoPE, arXiv:2402.13753; as transformers' modeling_rope_utils computes it.
    if isinstance(rope.given.get("attention_factor"), (int, float)):
        return rope.number("attention_factor", 1.0)
    return math.sqrt(1 + math.log(stretch) / math.log(original_context)) if stretch > 1 else 1.0


def rope_factors(rope: Rope, dimension: int) -> Mapping[str, tuple[float, ...]]:
    """Tensors that divide the frequencies, by name; each has half as many elements as the dimension that is turned."""
    if rope.kind == "llama3":
        return {"rope_freqs.weight": _llama3_factors(rope, dimension)}
    if rope.kind == "longrope":
        return {
            f"rope_factors_{which}.weight": tuple(map(float, rope.given.get(f"{which}_factor", ())))
            for which in ("long", "short")
        }
    return {}


def _llama3_factors(rope: Rope, dimension: int) -> tuple[float, ...]:
    """Long waves are stretched, short ones kept, those between go over smoothly. Source: transformers, ``llama3``."""
    factor = rope.number("factor", 8.0)
    low, high = rope.number("low_freq_factor", 1.0), rope.number("high_freq_factor", 4.0)
    original = rope.number("original_max_position_embeddings", 8192)

    def stretch(exponent: float) -> float:
        wave = 2 * math.pi * math.pow(rope.theta, exponent)
        if wave < original / high:
            return 1.0
        if wave > original / low:
            return factor
        smooth = (original / wave - low) / (high - low)
        return 1 / ((1 - smooth) / factor + smooth)

    return tuple(stretch(i / dimension) for i in range(0, dimension, 2))
