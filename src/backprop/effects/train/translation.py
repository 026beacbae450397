"""Exceptions of torch and its kin become catalogued errors, here and nowhere else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from backprop.effects.files.os_errors import os_code
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

_CARD_IS_FULL = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_PROCESSOR_IS_FULL = ("DefaultCPUAllocator", "enforce fail at alloc_cpu.cpp")
FULL_DISK_BYTES = 1 << 20
"""Less free space than this after a failed write means that the disk was full."""


@contextmanager
def translated(code: str, what: str, *, where: str = "") -> Iterator[None]:
    """Raise ``BackpropError`` with ``code`` for any error inside; memory and disk keep codes of their own."""
    try:
        yield
    except (BackpropError, KeyboardInterrupt):
        raise
    except Exception as wrong:
        raise BackpropError(_problem(wrong, code, what, where)) from wrong


def _problem(wrong: Exception, code: str, what: str, where: str) -> Problem:
    first_line = (str(wrong).strip() or type(wrong).__name__).splitlines()[0]
    if is_card_full(wrong):
        return Problem("RUNTIME_GPU_OOM", f"{what}: the card ran out of memory.", where=where)
    if is_disk_full(wrong, Path(where or ".")):
        return Problem("RUNTIME_DISK_FULL", f"{what}: no space is left on the disk.", where=where)
    return Problem(code, f"{what}: {first_line}", where=where)


def is_card_full(wrong: Exception) -> bool:
    """Whether the card's memory ran out. What torch does not allocate itself fails as a bare RuntimeError."""
    return isinstance(wrong, torch.OutOfMemoryError) or _says(wrong, _CARD_IS_FULL)


def is_out_of_memory(wrong: Exception) -> bool:
    """Whether memory ran out, the card's or the processor's."""
    return is_card_full(wrong) or isinstance(wrong, MemoryError) or _says(wrong, _PROCESSOR_IS_FULL)


def _says(wrong: Exception, words: tuple[str, ...]) -> bool:
    return isinstance(wrong, RuntimeError) and any(word in str(wrong) for word in words)


def is_disk_full(wrong: BaseException, place: Path) -> bool:
    """Whether a write failed for want of space. torch and safetensors hide the system's error number."""
    cause: BaseException | None = wrong
    while cause is not None:
        if isinstance(cause, OSError) and os_code(cause) == "RUNTIME_DISK_FULL":
            return True
        if "No space left" in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    # inline_container is what torch calls its zip writer when the file is shorter than what was written to it.
    looks_like_a_write = any(word in str(wrong).lower() for word in ("writ", "inline_container"))
    existing = next(p for p in (place.absolute(), *place.absolute().parents) if p.exists())
    return looks_like_a_write and shutil.disk_usage(existing).free < FULL_DISK_BYTES
