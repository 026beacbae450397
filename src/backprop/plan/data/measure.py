"""What the report measures of one example: its text, its turns, its reasoning, what about it is empty."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, assert_never

from backprop.plan.data.conversation import (
    Conversation,
    Example,
    Message,
    Pair,
    Passage,
    Preference,
    Rated,
    Supervised,
    reasoning_of,
)

BYTES_PER_TOKEN = 4
"""Of text in UTF-8: SmolLM2's tokenizer makes 4.1 bytes a token of short English answers, 3.3 of Python code."""
ESTIMATE = "estimate: a token for every 4 bytes of text, without the chat template; pass --model to count"

_OPEN, _CLOSE = "<think>", "</think>"


def whole_text(example: Example) -> str:
    """All text of an example as it stands, a line each; of two answers to a prompt both."""
    return "\n".join(_texts(example))


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has; one at least, but for an empty one."""
    num_bytes = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-num_bytes // BYTES_PER_TOKEN)


def supervised_parts(example: Example) -> tuple[Supervised, ...]:
    """What training makes a sequence of: the example itself, of a preference each answer."""
    if isinstance(example, Preference):
        return (example.chosen, example.rejected)
    return (example.example,) if isinstance(example, Rated) else (example,)


def num_turns(example: Example) -> int:
    """Turns of the user and the assistant; a prompt and its answer are two, a passage is one."""
    part = supervised_parts(example)[0]
    if isinstance(part, Conversation):
        return sum(message["role"] in ("user", "assistant") for message in part.messages)
    return 2 if isinstance(part, Pair) else 1


def traces_of(example: Example, text: str) -> tuple[str, ...]:
    """The reasoning in an example: what stands between <think> and </think> or beside an answer; blank ones left out.

    ``text`` is :func:`whole_text` of it: most have no mark of reasoning, and that is told at once.
    """
    found = list(_between_tags(text)) if _OPEN in text else []
    for part in supervised_parts(example):
        if isinstance(part, Conversation):
            found += [reasoning_of(message) for message in part.messages if message["role"] == "assistant"]
    return tuple(trace for trace in found if trace and not trace.isspace())


def strings_in(value: Any) -> Iterator[str]:
    """Every text and key in a row as its file holds it, at any depth."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, Mapping):
            waiting += (*found, *found.values())
        elif isinstance(found, (list, tuple)):
            waiting += found


def _between_tags(text: str) -> Iterator[str]:
    for after in text.split(_OPEN)[1:]:
        trace, tag, _ = after.partition(_CLOSE)
        if tag:
            yield trace


def _texts(example: Example) -> Iterable[str]:
    if isinstance(example, Conversation):
        return _said(example.messages)
    if isinstance(example, Pair):
        return (example.prompt, example.completion)
    if isinstance(example, Passage):
        return (example.text,)
    if isinstance(example, Rated):
        return _texts(example.example)
    if isinstance(example, Preference):
        return (*_texts(example.chosen), *_answer(example.rejected))
    assert_never(example)


def _answer(rejected: Conversation | Pair) -> Iterable[str]:
    """What the rejected side adds to the prompt, which both have."""
    if isinstance(rejected, Pair):
        return (rejected.completion,)
    told = zip(rejected.messages, rejected.learned, strict=True)
    return _said(message for message, is_learned in told if is_learned)


def _said(messages: Iterable[Message]) -> Iterator[str]:
    for message in messages:
        content = message.get("content")
        if content:
            yield content
        if len(message) > 2:
            reasoning = reasoning_of(message)
            if reasoning:
                yield reasoning
            if message.get("tool_calls"):
                yield json.dumps(message["tool_calls"], ensure_ascii=False, default=str)
