"""Turns as rows hold them, made into a conversation of messages as chat templates read them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from backprop.plan.data.check import Check
from backprop.plan.data.conversation import Conversation, Message, RowError
from backprop.plan.data.described import described_key, kind_name
from backprop.plan.settings.nearest import nearest

ROLES = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "ipython",
}
"""Roles as rows name them, and as chat templates do."""

TurnKey: TypeAlias = Callable[[int], str]
"""Where turn number i (from 0) stands in its row, such as ``messages[2]``."""


def read_conversation(turns: Iterable[Any], key: TurnKey, *, tools: Any = None) -> Conversation:
    """The turns as a conversation whose assistant turns are learned. Raises ``RowError``."""
    messages: list[Message] = []
    learned: list[bool] = []
    for index, turn in enumerate(turns):
        message = _message(turn, index, key)
        messages.append(message)
        learned.append(message["role"] == "assistant" and _is_weighted(turn))
    if not messages:
        raise RowError("the conversation is empty", Check.EMPTY_ROW, key=key(0).partition("[")[0])
    return Conversation(tuple(messages), tuple(learned), read_tools(tools))


def read_tools(tools: Any) -> tuple[Mapping[str, Any], ...]:
    """The functions that a row offers. Raises ``RowError``."""
    tools = list_in_text(tools)
    if tools in (None, "", []):
        return ()
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise RowError('"tools" is not a list of function descriptions', key="tools")
    return tuple(tools)


def list_in_text(value: Any) -> Any:
    """A list that a table file holds as JSON text; anything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            read = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return read if isinstance(read, list) and all(isinstance(item, Mapping) for item in read) else value
    return value


def _message(turn: Any, index: int, key: TurnKey) -> Message:
    if not isinstance(turn, Mapping):
        raise RowError(f"turn {index + 1} is {kind_name(turn)}, not an object with role and content", key=key(index))
    message: dict[str, Any] = {"role": _role(turn, index, key)}
    for name, value in turn.items():
        if value is not None and name not in _TURN_KEYS:
            message[name] = value
    calls = turn.get("tool_calls")
    content = turn.get("content", turn.get("value"))
    if isinstance(content, str):
        message["content"] = content
    elif content is not None or not calls:
        message["content"] = _content(turn, index, key)
    if calls:
        message["tool_calls"] = _tool_calls(calls, index, key)
    return message


_TURN_KEYS = frozenset({"role", "from", "content", "value", "tool_calls", "weight"})


def _role(turn: Mapping[str, Any], index: int, key: TurnKey) -> str:
    name = "role" if "role" in turn or "from" not in turn else "from"
    said = turn.get(name)
    role = ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is not None:
        return role
    where = f"{key(index)}.{name}"
    if said is None:
        raise RowError(f"turn {index + 1} has no role: {described_key(turn, name)}", Check.MISSING_KEY, key=where)
    close = nearest(said, ROLES) if isinstance(said, str) else None
    meant = f' (did you mean "{close}"?)' if close else ""
    shown = json.dumps(said, default=str, ensure_ascii=False)
    raise RowError(f"turn {index + 1} has the role {shown[:60]}{meant}", Check.UNKNOWN_ROLE, key=where)


def _content(turn: Mapping[str, Any], index: int, key: TurnKey) -> str:
    name = "content" if "content" in turn or "value" not in turn else "value"
    content, where = turn.get(name), f"{key(index)}.{name}"
    if content is None:
        raise RowError(f"turn {index + 1} has no content: {described_key(turn, name)}", Check.MISSING_KEY, key=where)
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type", "text") == "text"]
    if len(texts) != len(parts) or not all(isinstance(text, str) for text in texts):
        raise RowError(f"turn {index + 1} has content that is not text ({kind_name(content)})", key=where)
    return "".join(text for text in texts if text)


def _tool_calls(calls: Any, index: int, key: TurnKey) -> list[dict[str, Any]]:
    """The calls with their arguments as objects: templates write them as JSON themselves."""
    whole = isinstance(calls, list) and all(
        isinstance(call, Mapping)
        and isinstance(call.get("function"), Mapping)
        and isinstance(call["function"].get("name"), str)
        for call in calls
    )
    if not whole:
        message = f'turn {index + 1} has tool calls without a "function" that has a "name"'
        raise RowError(message, key=f"{key(index)}.tool_calls")
    return [{**call, "function": {**call["function"], **_arguments(call["function"])}} for call in calls]


def _arguments(function: Mapping[str, Any]) -> dict[str, Any]:
    given = function.get("arguments")
    if not isinstance(given, str):
        return {}
    try:
        read = json.loads(given)
    except (ValueError, RecursionError):
        return {}
    return {"arguments": read} if isinstance(read, dict) else {}


def _is_weighted(turn: Mapping[str, Any]) -> bool:
    return turn.get("weight") is None or bool(turn["weight"])
