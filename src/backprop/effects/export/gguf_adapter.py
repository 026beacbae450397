"""An adapter as a GGUF file of its own; the package that writes it is loaded when there is something to write."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from pathlib import Path
from typing import Any

from backprop.plan.decision import Problem
from backprop.plan.export.gguf.adapter import LoraPlan
from backprop.plan.export.plan import Check

_WRITER = "backprop.effects.export.gguf"
_READER = "backprop.effects.export.gguf_read_back"


def check_writer() -> tuple[Problem, ...]:
    """DEP_PACKAGE_MISSING where GGUF files cannot be written."""
    if importlib.util.find_spec("gguf") is not None:
        return ()
    message = "GGUF files are written with the package gguf, which is not installed."
    return (Problem("DEP_PACKAGE_MISSING", message, hint="pip install gguf"),)


def write_adapter_file(plan: LoraPlan, target: Path) -> Check:
    """Write the file whole or not at all, and read it back. Raises RUNTIME_GGUF_EXPORT_FAILED, RUNTIME_DISK_FULL."""
    import_module(_WRITER).write_gguf_lora(plan, target)
    reader: Any = import_module(_READER)
    read_back: Check = reader.check_header(plan.layout, target)
    return read_back
