"""What an export is made from: an adapter and its base as their files describe them, every tensor with its place."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Mapping
from typing import Any

import attrs

from backprop.plan.decision import Problem
from backprop.plan.facts.families import FAMILY_DEFAULTS

ITEM_BYTES: Mapping[str, int] = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}
"""Bytes of an element, by the names of :class:`TensorFacts`."""
MERGEABLE = frozenset({"float64", "float32", "float16", "bfloat16"})
"""The types that an adapter can be merged into."""
_PREFIX = "base_model.model."
_PART = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(\.weight)?"
)


@attrs.frozen
class TensorFacts:
    """A tensor in a safetensors file, as the file's header declares it."""

    name: str
    dtype: str
    """``bfloat16``, ``float32``, …"""
    shape: tuple[int, ...]
    file: str
    begin: int
    """Where its data begin, in bytes from the start of the file."""
    num_bytes: int

    @property
    def size(self) -> int:
        """Number of its elements."""
        return math.prod(self.shape)


class Part(enum.Enum):
    """What a tensor of an adapter is to its module. A scalar r is the rank."""

    A = "lora_A"
    """(r, in)"""
    B = "lora_B"
    """(out, r)"""
    EMBEDDING_A = "lora_embedding_A"
    """(r, rows of the table)"""
    EMBEDDING_B = "lora_embedding_B"
    """(width of the table, r)"""
    MAGNITUDE = "lora_magnitude_vector"
    """DoRA: (out,)"""
    WHOLE = "whole"
    """A tensor that takes the place of the base's: a module that was saved as a whole, or a bias."""


@attrs.frozen
class AdapterTensor:
    """One tensor of an adapter, and the module of the base that it belongs to."""

    module: str
    """``model.layers.0.self_attn.q_proj``; of a whole tensor its name in the base, ``lm_head.weight``."""
    part: Part
    facts: TensorFacts


@attrs.frozen
class AdapterFacts:
    """A PEFT adapter directory: what its configuration says, and its tensors. arXiv:2106.09685."""

    directory: str
    base_name: str | None
    """``base_model_name_or_path``: a directory or a Hub id."""
    base_commit: str | None
    rank: int
    alpha: float
    tensors: tuple[AdapterTensor, ...]
    rank_pattern: tuple[tuple[str, int], ...] = ()
    """Ranks of modules whose names end with a pattern, a regular expression; the first match counts."""
    alpha_pattern: tuple[tuple[str, float], ...] = ()
    use_rslora: bool = False
    """The scale is alpha / sqrt(rank) instead of alpha / rank, arXiv:2312.03732."""
    use_dora: bool = False
    fan_in_fan_out: bool = False
    """The base stores its weights as (in, out)."""
    keeps_tie: bool = False
    """``ensure_weight_tying``: what was trained of the embedding holds for the head too."""
    target_modules: tuple[str, ...] = ()
    """Empty when the configuration gives a pattern instead of names."""
    task: str | None = None

    def rank_of(self, module: str) -> int:
        """The rank that the configuration gives a module."""
        return next((value for key, value in self.rank_pattern if _matches(key, module)), self.rank)

    def alpha_of(self, module: str) -> float:
        """The alpha that the configuration gives a module."""
        return next((value for key, value in self.alpha_pattern if _matches(key, module)), self.alpha)

    def scale_of(self, module: str) -> float:
        """What B·A is multiplied by in a module: alpha / r, with rank-stabilized LoRA alpha / sqrt(r)."""
        rank = self.rank_of(module)
        return self.alpha_of(module) / (math.sqrt(rank) if self.use_rslora else rank)

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that have a low-rank update, in the order of the file."""
        return tuple(dict.fromkeys(t.module for t in self.tensors if t.part is not Part.WHOLE))


@attrs.frozen
class BaseFacts:
    """A model directory: its configuration and the tensors of its safetensors files."""

    name: str
    """As the user or the adapter names it."""
    directory: str
    config: Mapping[str, Any]
    tensors: tuple[TensorFacts, ...]
    other_files: tuple[str, ...] = ()
    """Names of the files beside the weights that belong to it: configuration, tokenizer, template, licence, code."""
    commit: str | None = None

    @property
    def is_tied(self) -> bool:
        """The output head is the embedding."""
        return ties_head(self.config)


def ties_head(config: Mapping[str, Any]) -> bool:
    """Whether the output head of a model with this ``config.json`` is its embedding."""
    inner = config.get("text_config")
    given = {**config, **(inner if isinstance(inner, Mapping) else {})}
    usual = FAMILY_DEFAULTS.get(str(given.get("model_type")), {})
    return bool({**usual, **given}.get("tie_word_embeddings", False))


@attrs.frozen
class BaseShape:
    """A base of which the configuration alone is looked at."""

    name: str
    """As the user or the adapter names it."""
    config: Mapping[str, Any]


def adapter_tensor(facts: TensorFacts) -> AdapterTensor:
    """The place of a tensor by its name in an adapter's file, ``base_model.model.MODULE.lora_A.weight``."""
    name = facts.name.removeprefix(_PREFIX)
    match = _PART.fullmatch(name)
    if match:
        return AdapterTensor(match["module"], Part(match["part"]), facts)
    return AdapterTensor(name.replace(".base_layer.", ".").replace(".modules_to_save.", "."), Part.WHOLE, facts)


def adapter_facts(directory: str, config: Mapping[str, Any], tensors: tuple[TensorFacts, ...]) -> AdapterFacts:
    """The facts of an adapter out of its ``adapter_config.json`` and its tensors.

    Raises ``ValueError`` with words to stand after "it" for what cannot be merged or has no usable shape.
    """
    _check_kind(config)
    targets = config.get("target_modules")
    return AdapterFacts(
        directory=directory,
        base_name=config.get("base_model_name_or_path") or None,
        base_commit=config.get("revision") or None,
        rank=_whole(config.get("r"), "r"),
        alpha=_number(config.get("lora_alpha"), "lora_alpha"),
        tensors=tuple(adapter_tensor(tensor) for tensor in tensors),
        rank_pattern=tuple((str(k), _whole(v, "rank_pattern")) for k, v in _pattern(config, "rank_pattern")),
        alpha_pattern=tuple((str(k), _number(v, "alpha_pattern")) for k, v in _pattern(config, "alpha_pattern")),
        use_rslora=config.get("use_rslora") is True,
        use_dora=config.get("use_dora") is True,
        fan_in_fan_out=config.get("fan_in_fan_out") is True,
        keeps_tie=config.get("ensure_weight_tying") is True,
        target_modules=tuple(sorted(map(str, targets))) if isinstance(targets, (list, tuple)) else (),
        task=config.get("task_type") or None,
    )


_CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initializations after which the adapter belongs to a base that differs from the one that it names."""
_UNMERGEABLE = {
    "lora_bias": "has a bias of its own in lora_B",
    "target_parameters": "changes parameters that are no linear layers (target_parameters)",
    "trainable_token_indices": "trains single rows of the embedding (trainable_token_indices)",
    "layer_replication": "replicates layers of the base (layer_replication)",
    "use_qalora": "is a QALoRA adapter",
    "alora_invocation_tokens": "is an activated LoRA, which works only after its invocation tokens",
    "arrow_config": "is an Arrow mixture of adapters",
    "use_bdlora": "is a block-diagonal LoRA adapter",
    "kasa_config": "is a KaSA adapter, which fits a truncated copy of its base",
    "monteclora_config": "is a MonteCLoRA adapter",
}


def _check_kind(config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ValueError(f"is of the kind {kind}, and only LORA can be exported")
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower().startswith(_CHANGE_THE_BASE):
        raise ValueError(f"was started with {init}, so it fits a changed copy of its base; convert it to plain LoRA")
    for key, what in _UNMERGEABLE.items():
        if config.get(key):
            raise ValueError(what)


def _pattern(config: Mapping[str, Any], key: str) -> tuple[tuple[Any, Any], ...]:
    value = config.get(key) or {}
    if not isinstance(value, Mapping):
        raise ValueError(f'has no usable "{key}"')
    for pattern in value:
        try:
            re.compile(str(pattern))
        except re.error as wrong:
            raise ValueError(f'has a "{key}" that is no pattern: {pattern}') from wrong
    return tuple(value.items())


def _whole(value: object, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f'has no usable "{key}" (found {value!r})')
    return value


def _number(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f'has no usable "{key}" (found {value!r})')
    return float(value)


def _matches(pattern: str, module: str) -> bool:
    # As peft.utils.other.get_pattern_key does it.
    return re.match(rf"(.*\.)?({pattern})$", module) is not None


def adapter_problem(directory: str, what: str) -> Problem:
    """INPUT_ADAPTER_INVALID for an adapter of which ``what`` is true."""
    return Problem("INPUT_ADAPTER_INVALID", f"The adapter in {directory} cannot be exported: it {what}.", where="PATH")
