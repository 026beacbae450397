"""The text of a row by which it is told whether it stands twice, and that text's digest."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import assert_never

from backprop.plan.data.conversation import (
    Conversation,
    Example,
    Message,
    Pair,
    Passage,
    Preference,
    Rated,
    reasoning_of,
)

DIGEST_BYTES = 16
"""128 bits: among a thousand million different texts two share a digest with a chance of 1 in 10**21."""

_SPEAKERS = frozenset({"user", "assistant"})


def compared_text(example: Example) -> str:
    """What is compared of an example, normalised, each turn or part on a line of its own; "" for one without text.

    Of a conversation only what the user and the assistant say: long system prompts and descriptions of tools are equal
    in rows that have nothing else in common. The assistant's reasoning and calls are what it says.
    """
    lines = (normalised(part) for part in _parts(example))
    return "\n".join(line for line in lines if line)


def normalised(text: str) -> str:
    """Text without what readers overlook: NFKC, lower case, each run of white space one blank, none at the ends."""
    if text.isascii():
        return " ".join(text.lower().split())
    # Lower case may fall apart into letter and mark; composed again, the same text is normal twice.
    lowered = unicodedata.normalize("NFKC", text).lower()
    return " ".join(unicodedata.normalize("NFKC", lowered).split())


def content_digest(text: str) -> bytes:
    """16 bytes that are equal for equal texts only.

    blake2b of the standard library: 1.5 µs for a row of 150 words, where xxh3 would take 0.4 µs and a dependency.
    """
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()


def digests_of(texts: Iterable[str]) -> bytes:
    """The digests of texts, one after the other: 16 bytes a text."""
    return b"".join(map(content_digest, texts))


def _parts(example: Example) -> Iterator[str]:
    if isinstance(example, Conversation):
        for message in example.messages:
            if message["role"] in _SPEAKERS:
                yield from _said(message)
    elif isinstance(example, Pair):
        yield example.prompt
        yield example.completion
    elif isinstance(example, Passage):
        yield example.text
    elif isinstance(example, Rated):
        yield from _parts(example.example)
    elif isinstance(example, Preference):
        yield from _parts(example.chosen)
        yield from _answer(example.rejected)
    else:
        assert_never(example)


def _answer(rejected: Conversation | Pair) -> Iterator[str]:
    """The rejected side without the prompt, which stands in the chosen one."""
    if isinstance(rejected, Pair):
        yield rejected.completion
    else:
        for message, is_learned in zip(rejected.messages, rejected.learned, strict=True):
            if is_learned:
                yield from _said(message)


def _said(message: Message) -> Iterator[str]:
    yield reasoning_of(message)
    yield message.get("content", "")
    for call in message.get("tool_calls") or ():
        function = call["function"]
        arguments = json.dumps(function.get("arguments"), sort_keys=True, ensure_ascii=False, default=str)
        yield f"{function['name']} {arguments}"
