"""The normal form of a row: a conversation, a pair of prompt and completion, a passage of text; two of them compared,
or one of them rated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs

from backprop.plan.data.check import Check

Message: TypeAlias = Mapping[str, Any]
"""What a chat template reads: ``role``, ``content`` and what else the row gave, no value None."""


@attrs.frozen
class Conversation:
    """Messages in order; ``learned`` says of each whether the model is to learn it."""

    messages: tuple[Message, ...]
    learned: tuple[bool, ...]
    tools: tuple[Mapping[str, Any], ...] = ()


@attrs.frozen
class Pair:
    """A prompt and the completion that the model is to learn, joined as they stand."""

    prompt: str
    completion: str


@attrs.frozen
class Passage:
    """Text that is learned whole."""

    text: str


@attrs.frozen
class Preference:
    """Two answers to one prompt, of which one is better; the prompt stands in both."""

    chosen: Conversation | Pair
    rejected: Conversation | Pair


@attrs.frozen
class Rated:
    """An answer that is good (true) or bad (false)."""

    example: Conversation | Pair
    label: bool


Supervised: TypeAlias = Conversation | Pair | Passage
"""What supervised fine-tuning learns from."""

Example: TypeAlias = Supervised | Preference | Rated


class RowError(ValueError):
    """Why a row cannot be used, in one clause for the person who wrote it; which check it fails, and at which key."""

    def __init__(self, message: str, check: Check = Check.WRONG_TYPE, *, key: str = "") -> None:
        super().__init__(message)
        self.check = check
        self.key = key


REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
"""Names under which a message carries its reasoning; templates read the first, some the second."""


def reasoning_of(message: Message) -> str:
    """The reasoning that stands beside a message's content; empty without one."""
    found = next((message[key] for key in REASONING_KEYS if message.get(key) is not None), "")
    return found if isinstance(found, str) else ""


def tool_names_of(message: Message) -> tuple[str, ...]:
    """The names of the functions that a message calls."""
    calls = message.get("tool_calls") or ()
    return tuple(str(call["function"]["name"]) for call in calls)
