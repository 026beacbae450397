"""A LoRA adapter as a GGUF file of its own, to be laid over a GGUF of its base.

llama.cpp multiplies B·A by adapter.lora.alpha / rank; what differs from that, module by module, is folded into B.
Source: llama.cpp src/llama-adapter.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from backprop.plan.decision import Problem, Refused
from backprop.plan.export.gguf.architectures import architecture_of
from backprop.plan.export.gguf.ggml import GgmlType
from backprop.plan.export.gguf.hyperparameters import read_hyperparameters
from backprop.plan.export.gguf.metadata import Entry, real, text
from backprop.plan.export.gguf.names import Change, place_of
from backprop.plan.export.gguf.plan import UNSUPPORTED, GgufPlan, TensorPlan, check_family
from backprop.plan.export.sources import AdapterFacts, Part, TensorFacts, ties_head

_MERGED_HINT = "Merge it instead: --format gguf."


@attrs.frozen
class LoraTensor:
    """One of the file's matrices, in float32."""

    name: str
    """``blk.0.attn_q.weight.lora_a``"""
    source: TensorFacts
    """(r, in) for A, (out, r) for B, stored as the file wants them."""
    factor: float = 1.0
    """What the values are multiplied by."""
    change: Change = Change.NONE


@attrs.frozen
class LoraPlan:
    """The whole file."""

    architecture: str
    metadata: tuple[Entry, ...]
    tensors: tuple[LoraTensor, ...]
    heads: tuple[int, int]
    """(query heads, key heads), by which rows of B are permuted."""

    @property
    def layout(self) -> GgufPlan:
        """Which tensor stands where."""
        tensors = tuple(TensorPlan(t.name, t.source.shape, GgmlType.F32, t.source.name) for t in self.tensors)
        return GgufPlan(self.architecture, self.metadata, tensors, self.heads)


def plan_lora(adapter: AdapterFacts, config: Mapping[str, Any], *, name: str) -> LoraPlan | Refused:
    """Decide the file of an adapter to a base with this ``config.json``, or say all that stands against it."""
    unknown = check_family(str(config.get("model_type")))
    architecture = architecture_of(str(config.get("model_type")))
    if unknown is not None or architecture is None:
        assert unknown is not None, "both ask the same table"
        return Refused((unknown,))
    try:
        model = read_hyperparameters(config, architecture)
    except ValueError as damage:
        return Refused((Problem("INPUT_MODEL_INVALID", f"{name}: {damage}"),))
    problems = tuple(_inexpressible(adapter, config))
    tensors: list[LoraTensor] = []
    for tensor in adapter.tensors if not problems else ():
        module = tensor.module if tensor.module.startswith(("model.", "lm_head")) else f"model.{tensor.module}"
        place = place_of(f"{module}.weight", architecture)
        if place is None:
            problems += (_refusal(adapter, f"{architecture.name} has no place for {tensor.module}"),)
            continue
        is_b = tensor.part is Part.B
        scale = adapter.scale_of(tensor.module) * adapter.rank_of(tensor.module) / adapter.alpha
        tensors.append(
            LoraTensor(
                f"{place.name}.{'lora_b' if is_b else 'lora_a'}",
                tensor.facts,
                factor=scale if is_b else 1.0,
                change=place.change if is_b else Change.NONE,
            )
        )
    if problems:
        return Refused(problems)
    entries = (
        text("general.architecture", architecture.name),
        text("general.type", "adapter"),
        text("general.name", name),
        text("adapter.type", "lora"),
        real("adapter.lora.alpha", adapter.alpha),
    )
    return LoraPlan(architecture.name, entries, tuple(tensors), (model.num_heads, model.num_kv_heads))


def _inexpressible(adapter: AdapterFacts, config: Mapping[str, Any]) -> Iterator[Problem]:
    if adapter.use_dora:
        yield _refusal(adapter, "DoRA scales whole rows, which a GGUF adapter cannot")
    if adapter.fan_in_fan_out:
        yield _refusal(adapter, "its base stores weights transposed")
    if adapter.alpha == 0:
        yield _refusal(adapter, "its alpha is 0, so it changes nothing")
    wholes = [t.module for t in adapter.tensors if t.part is Part.WHOLE]
    if wholes:
        yield _refusal(adapter, f"it holds {wholes[0]} as a whole, and a GGUF adapter has only low-rank changes")
    if any(t.part in (Part.EMBEDDING_A, Part.EMBEDDING_B) for t in adapter.tensors):
        yield _refusal(adapter, "it changes the embedding")
    if ties_head(config) and any(module.rpartition(".")[2] == "lm_head" for module in adapter.modules):
        yield _refusal(adapter, "it changes the head, which is one tensor with the embedding in its base")


def _refusal(adapter: AdapterFacts, what: str) -> Problem:
    message = f"The adapter in {adapter.directory} cannot be written as a GGUF adapter: {what}."
    return Problem(UNSUPPORTED, message, where="PATH", hint=_MERGED_HINT)
