"""The decision that the user took: a value with the flag, variable or file that set it."""

from __future__ import annotations

from typing import TypeVar

from backprop.plan.decision import Decision
from backprop.plan.settings.resolve import Origins

T = TypeVar("T")


def set_by(origins: Origins, key: str, value: T) -> Decision[T] | None:
    """The user's value for a configuration key such as ``training.learning_rate``; None when it is the default."""
    return given(origins, key, value) if origins.of(key) else None


def given(origins: Origins, key: str, value: T) -> Decision[T]:
    """A value that is certainly the user's; a library call has no origin and is named by the key."""
    return Decision(value, f"set by {name_of(origins, key)}", "You asked for it.")


def name_of(origins: Origins, key: str, otherwise: str | None = None) -> str:
    """What set a value, as a message names it: a flag, a variable, a file; ``otherwise``, else the key, of a call."""
    origin = origins.of(key)
    return origin.name if origin else otherwise or key
