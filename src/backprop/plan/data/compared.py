"""The text of a row by which it is told whether it stands twice, and that text's digest."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, assert_never

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
from backprop.plan.data.layout import Layout

DIGEST_BYTES = 16
"""128 bits: among a thousand million different texts two share a digest with a chance of 1 in 10**21."""

_SPEAKERS = frozenset({"user", "assistant"})
_LOWER = bytes(0x20 if chr(code).isspace() else ord(chr(code).lower()) if code < 0x80 else code for code in range(256))
"""ASCII in lower case, all white space as blanks."""
_TWO_BLANKS = re.compile(rb"  ").search
"""``in`` for two bytes takes longer by half, where one of them is frequent."""


def compared_text(example: Example) -> str:
    """What is compared of an example, normalised, each turn or part on a line of its own; "" for one without text.

    Of a conversation only what the user and the assistant say: long system prompts and descriptions of tools are equal
    in rows that have nothing else in common. The assistant's reasoning and calls are what it says.
    """
    lines = (normalised(part) for part in _parts(example))
    return "\n".join(line for line in lines if line)


def compared_text_of_usual(row: Any, layout: Layout) -> str | None:
    """:func:`compared_text` of a row that is usual (:mod:`backprop.plan.data.certain`), without reading it.

    None for layouts whose rows have to be read.
    """
    usual = _USUAL.get(layout)
    return None if usual is None else "\n".join(line for line in map(normalised, usual(row)) if line)


def _from_turns(turns: Any, role: str, text: str) -> list[str]:
    return [turn[text] for turn in turns if turn[role] != "system"]


_USUAL: Mapping[Layout, Callable[[Any], list[str]]] = {
    Layout.OPENAI: lambda row: _from_turns(row["messages"], "role", "content"),
    Layout.SHAREGPT: lambda row: _from_turns(row["conversations"], "from", "value"),
}


def normalised(text: str) -> str:
    """Text without what readers overlook: NFKC, lower case, each run of white space one blank, none at the ends."""
    if text.isascii():
        # Bytes are translated ten times as fast as text is split and joined, which most text does not need then.
        plain = text.encode("ascii").translate(_LOWER)
        return (b" ".join(plain.split()) if _TWO_BLANKS(plain) else plain.strip(b" ")).decode("ascii")
    # Lower case may fall apart into letter and mark; composed again, the same text is normal twice.
    lowered = unicodedata.normalize("NFKC", text).lower()
    return " ".join(unicodedata.normalize("NFKC", lowered).split())


def content_digest(text: str) -> bytes:
    """16 bytes that are equal for equal texts only.

    blake2b of the standard library: 1.5 µs for a row of 150 words, where xxh3 would take 0.4 µs and a dependency.
    """
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()


def content_hash(example: Example, *, seed: int) -> int:
    """64 bits that depend on nothing but the seed and the text that is compared: alike for rows that are equal so."""
    text = compared_text(example).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8, key=seed.to_bytes(8, "little")).digest(), "little")


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
