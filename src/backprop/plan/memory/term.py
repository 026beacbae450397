"""The terms that a memory plan adds up."""

from __future__ import annotations

import enum


class TermName(enum.Enum):
    """What a part of the memory holds, in the words of the break-down."""

    __hash__ = object.__hash__  # members are looked up all the time, and an enum's own hash is computed in Python

    FROZEN_WEIGHTS = "frozen weights"
    QUANTIZATION_STATE = "quantization state"
    TRAINABLE_WEIGHTS = "trainable weights"
    OPTIMIZER = "optimizer state"
    GRADIENTS = "gradients"
    ACTIVATIONS = "saved activations"
    RECOMPUTE = "recomputed activations"
    DEQUANTIZED = "dequantized weights"
    BACKWARD = "backward temporaries"
    LOGITS = "logits"
    STEP = "optimizer temporaries"
    WORKSPACE = "cuBLAS workspace"
    INPUT = "input"
