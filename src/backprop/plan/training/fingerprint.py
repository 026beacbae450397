"""Short names for a plan and for what it was planned on: equal values have equal names on every machine."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs

from backprop.plan.facts.dataset import DataFacts
from backprop.plan.facts.model import ModelFacts, TokenizerFacts
from backprop.plan.training.plan import TrainPlan
from backprop.plan.wire.converter import canonical_json, to_data

FINGERPRINT_CHARACTERS = 16


def fingerprint(plan: TrainPlan) -> str:
    """The plan's name: the first 64 bits, in hexadecimal, of SHA-256 over its canonical JSON."""
    return _digest(to_data(plan))


def model_fingerprint(model: ModelFacts, tokenizer: TokenizerFacts | None) -> str:
    """The model's name, wherever it stands: its shape, the size of its weights, its tokenizer and template."""
    shape = attrs.evolve(model, name="", directory=None)
    return _digest([to_data(shape), to_data(tokenizer)])


def data_fingerprint(data: DataFacts) -> str:
    """The rows' name, wherever the files stand: the bytes of the files and what is held out of them."""
    parts = [part for part in (data.train, data.heldout) if part is not None]
    return _digest([[part.fingerprint, part.rows, to_data(part.tokens)] for part in parts])


def _digest(data: Any) -> str:
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()[:FINGERPRINT_CHARACTERS]
