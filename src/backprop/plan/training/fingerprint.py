"""Short names for a plan and for what it was planned on: equal values have equal names on every machine."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs

from backprop.plan.facts.dataset import DataFacts, TokenFacts
from backprop.plan.facts.model import ModelFacts, ModelSource, TokenizerFacts
from backprop.plan.training.plan import TrainPlan
from backprop.plan.wire.converter import canonical_json, to_data

FINGERPRINT_CHARACTERS = 16


def fingerprint(plan: TrainPlan) -> str:
    """The plan's name: the first 64 bits, in hexadecimal, of SHA-256 over its canonical JSON.

    How much memory was free when it was made is no part of what it does.
    """
    return _digest(_told_apart(to_data(attrs.evolve(plan, budget=None))))


def model_fingerprint(model: ModelFacts, tokenizer: TokenizerFacts | None) -> str:
    """The model's name, wherever it stands: its shape, its weights, its tokenizer and template.

    A Hub model is its commit: whether its files were here already when it was looked at makes no difference.
    """
    shape = attrs.evolve(
        model,
        name="",
        source=ModelSource.DIRECTORY,
        directory=None,
        files_absent=None,
        licence="",
        weights_bytes=None if model.commit else model.weights_bytes,
    )
    text = attrs.evolve(tokenizer, chat_template_name="", chat_template_note="") if tokenizer else None
    return _digest(_told_apart([to_data(shape), to_data(text)]))


def data_fingerprint(data: DataFacts) -> str:
    """The rows' name, wherever the files stand: the bytes of the files and what is held out of them."""
    parts = [part for part in (data.train, data.heldout) if part is not None]
    return _digest([[part.fingerprint, part.rows, _counts(part.tokens)] for part in parts])


def _counts(tokens: TokenFacts | None) -> Any:
    """The counts without their examples, which name files."""
    if tokens is None:
        return None
    return {name: value["rows"] if isinstance(value, dict) else value for name, value in to_data(tokens).items()}


_ONLY_TOLD = frozenset({"gguf_export", "gguf_tokenizer", "warnings"})
"""What a plan says of its result and of itself, and no run depends on."""


def _told_apart(data: Any) -> Any:
    """The data without what is only told, at any depth."""
    if isinstance(data, dict):
        return {key: _told_apart(value) for key, value in data.items() if key not in _ONLY_TOLD}
    return [_told_apart(value) for value in data] if isinstance(data, (list, tuple)) else data


def _digest(data: Any) -> str:
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()[:FINGERPRINT_CHARACTERS]
