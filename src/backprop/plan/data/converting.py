"""From the normal form back to a row of another layout, where that layout can hold what the row says."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, assert_never

from backprop.plan.data.conversation import Conversation, Example, Message, Pair, Passage, Preference, Rated, RowError
from backprop.plan.data.described import kind_name


class Target(enum.Enum):
    """The layouts that are written."""

    SHAREGPT = "sharegpt"
    OPENAI = "openai"
    ALPACA = "alpaca"


SHAREGPT_ROLES = {"system": "system", "user": "human", "assistant": "gpt", "tool": "tool"}
"""Roles as ShareGPT names them; it has no other."""

_PLAIN = frozenset({"role", "content"})
"""What every layout can say of a message."""


def convert_example(example: Example, target: Target) -> dict[str, Any]:
    """The row in the layout ``target``, which reads back as the same conversation.

    A pair becomes a question and its answer. Raises ``RowError`` when the layout cannot hold what the row says.
    """
    return _WRITERS[target](_as_conversation(example))


def holding(example: Example) -> tuple[Target, ...]:
    """The layouts that can hold what an example says."""
    return tuple(target for target in Target if _can_hold(example, target))


def _can_hold(example: Example, target: Target) -> bool:
    try:
        convert_example(example, target)
    except RowError:
        return False
    return True


def _as_conversation(example: Example) -> Conversation:
    if isinstance(example, Conversation):
        return example
    if isinstance(example, Pair):
        asked = {"role": "user", "content": example.prompt}
        return Conversation((asked, {"role": "assistant", "content": example.completion}), (False, True))
    if isinstance(example, Passage):
        raise RowError("raw text has no turns to write")
    if isinstance(example, (Preference, Rated)):
        name = "a preference" if isinstance(example, Preference) else "a rating"
        raise RowError(f"the layout has no place for {name}")
    assert_never(example)


def _openai(conversation: Conversation) -> dict[str, Any]:
    turns = [
        {**message, **_weight(message, learned=learned)}
        for message, learned in zip(conversation.messages, conversation.learned, strict=True)
    ]
    return {"messages": turns, **_tools(conversation)}


def _sharegpt(conversation: Conversation) -> dict[str, Any]:
    turns = []
    for message, learned in zip(conversation.messages, conversation.learned, strict=True):
        _check_plain(message)
        role = SHAREGPT_ROLES.get(message["role"])
        if role is None:
            raise RowError(f"ShareGPT has no role {message['role']}")
        turns.append({"from": role, "value": message["content"], **_weight(message, learned=learned)})
    return {"conversations": turns, **_tools(conversation)}


def _alpaca(conversation: Conversation) -> dict[str, Any]:
    if conversation.tools:
        raise RowError("Alpaca has no place for tools")
    roles = [message["role"] for message in conversation.messages]
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise RowError(f"Alpaca holds one question and its answer, this is {', '.join(roles)}")
    if not conversation.learned[-1]:
        raise RowError("Alpaca has no place for an answer that is not to be learned")
    for message in conversation.messages:
        _check_plain(message)
    *system, asked, answered = (message["content"] for message in conversation.messages)
    return {
        **({"system": system[0]} if system else {}),
        "instruction": asked,
        "input": "",
        "output": answered,
    }


_WRITERS: Mapping[Target, Callable[[Conversation], dict[str, Any]]] = {
    Target.SHAREGPT: _sharegpt,
    Target.OPENAI: _openai,
    Target.ALPACA: _alpaca,
}


def _check_plain(message: Message) -> None:
    more = sorted(set(message) - _PLAIN)
    if more:
        raise RowError(f"the layout has no place for the {', '.join(more)} of a turn")
    if not isinstance(message["content"], str):
        raise RowError(f"the content of a turn is {kind_name(message['content'])}, not text")


def _weight(message: Message, *, learned: bool) -> dict[str, int]:
    """An answer that is not to be learned has the weight 0."""
    return {"weight": 0} if message["role"] == "assistant" and not learned else {}


def _tools(conversation: Conversation) -> dict[str, Any]:
    return {"tools": [dict(tool) for tool in conversation.tools]} if conversation.tools else {}
