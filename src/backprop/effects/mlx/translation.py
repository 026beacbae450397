"""Exceptions of MLX and mlx-lm become catalogued errors, here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from backprop.effects.files.os_errors import os_code
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError


@contextmanager
def translated(code: str, what: str, *, where: str = "") -> Iterator[None]:
    """Within it every foreign exception becomes a ``BackpropError`` with ``code``; the system's get their own codes."""
    try:
        yield
    except BackpropError:
        raise
    except Exception as wrong:
        own = os_code(wrong) if isinstance(wrong, OSError) else None
        raise BackpropError(Problem(own or code, f"{what}: {wrong or type(wrong).__name__}", where=where)) from wrong
