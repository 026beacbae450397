"""The installed packages that a plan depends on, told from the names of their metadata directories.

Importing ``importlib.metadata`` costs more than all other probes together; the names say the same.
"""

from __future__ import annotations

import os
import platform
import re
import sys

from backprop.plan.facts.software import SoftwareFacts

PACKAGES = (
    "accelerate",
    "bitsandbytes",
    "datasets",
    "gguf",
    "huggingface-hub",
    "mlflow",
    "mlx",
    "mlx-lm",
    "numpy",
    "peft",
    "pyarrow",
    "safetensors",
    "tensorboard",
    "tensorboardx",
    "tokenizers",
    "torch",
    "torchao",
    "trackio",
    "transformers",
    "triton",
    "trl",
    "unsloth",
    "wandb",
    "zstandard",
)
"""Distributions whose version a plan, a record or a bug report needs, by normalised name."""

_METADATA = re.compile(r"(?P<name>[A-Za-z0-9._-]+?)-(?P<version>\d[^-]*)(?:-py[\d.]+)?\.(?:dist|egg)-info")


def observe_software() -> SoftwareFacts:
    """Versions of the packages that matter, without importing any of them; the first on ``sys.path`` wins."""
    wanted = frozenset(PACKAGES)
    found: dict[str, str] = {}
    for directory in sys.path:
        for name, version in _installed_in(directory or "."):
            if name in wanted:
                found.setdefault(name, version)
    return SoftwareFacts(python=platform.python_version(), packages=tuple(sorted(found.items())))


def _installed_in(directory: str) -> list[tuple[str, str]]:
    try:
        entries = os.listdir(directory)  # noqa: PTH208 (names alone are wanted, of thousands of entries)
    except OSError:
        return []
    matches = (_METADATA.fullmatch(entry) for entry in entries if entry.endswith("-info"))
    return [(_normalised(match["name"]), match["version"]) for match in matches if match]


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
