"""The packages that executing a training plan takes."""

from __future__ import annotations

from backprop.plan.decision import Problem
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.settings.training import Optimizer

TRAIN_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors")
GENERATE_PACKAGES = ("torch", "transformers", "peft", "safetensors")


def needed_packages(*, load_in_4bit: bool, optimizer: Optimizer) -> tuple[str, ...]:
    """What executing a training plan takes in all."""
    needs_bitsandbytes = load_in_4bit or optimizer.has_8bit_states
    return (*TRAIN_PACKAGES, *(("bitsandbytes",) if needs_bitsandbytes else ()))


def check_packages(software: SoftwareFacts, needed: tuple[str, ...]) -> tuple[Problem, ...]:
    """What is missing, as one problem: found before rows are read or weights are fetched, not after."""
    missing = [name for name in needed if not software.has(name)]
    if not missing:
        return ()
    them = "this package" if len(missing) == 1 else "these packages"
    return (
        Problem(
            "DEP_PACKAGE_MISSING",
            f"This needs {them}, which this Python does not have: {', '.join(missing)}.",
            hint=f"pip install {' '.join(missing)}",
        ),
    )
