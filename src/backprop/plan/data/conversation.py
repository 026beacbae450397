"""The normal form of a row: a conversation, a pair of prompt and completion, or a passage of text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, TypeAlias

import attrs

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


Example: TypeAlias = Conversation | Pair | Passage


class RowError(ValueError):
    """Why a row cannot be used, in one clause for the person who wrote it."""


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


def content_hash(example: Example, *, seed: int) -> int:
    """64 bits that depend on nothing but the example's content and the seed."""
    data = attrs.asdict(example, recurse=False)
    text = json.dumps(data, sort_keys=True, default=_plain, ensure_ascii=True)
    key = seed.to_bytes(8, "little")
    return int.from_bytes(blake2b(text.encode(), digest_size=8, key=key).digest(), "little")


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)
