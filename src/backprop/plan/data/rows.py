"""Row layouts: how each is told from its keys, and how a row of it becomes the normal form."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from backprop.plan.data.conversation import Conversation, Example, Message, Pair, Passage, RowError
from backprop.plan.data.excerpt import excerpt
from backprop.plan.settings.nearest import nearest


class Layout(enum.Enum):
    """Every layout that is recognised; the last two are recognised only to say that they cannot be trained on."""

    OPENAI = "openai"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    COMPLETION = "completion"
    CHATML = "chatml"
    RAW = "raw"
    PREFERENCE = "preference"
    KTO = "kto"


UNTRAINABLE = {
    Layout.PREFERENCE: "preference pairs (chosen, rejected)",
    Layout.KTO: "rated completions (prompt, completion, label)",
}

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

_OUTPUT_KEYS = ("output", "response")
_COMPLETION_KEYS = ("completion", "response")
_CHATML_TURN = re.compile(r"<\|im_start\|>([^\n]*)\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL)


def layout_of(row: Any, *, text_column: str) -> Layout | None:
    """The layout whose keys the row has, or None."""
    if isinstance(row, str):
        row = {text_column: row}
    if not isinstance(row, Mapping):
        return None
    return next((layout for layout, fits in _TELLS if fits(row, text_column)), None)


def read_row(row: Any, layout: Layout, *, text_column: str) -> Example:
    """The row's normal form. Raises :class:`RowError` saying what is wrong with it."""
    if isinstance(row, str) and layout in (Layout.RAW, Layout.CHATML):
        row = {text_column: row}
    if not isinstance(row, Mapping):
        raise RowError(f"a row is an object with named fields, this is {_kind(row)}")
    return _READERS[layout](row, text_column)


def describe_keys(row: Any) -> str:
    """The row's keys for a message, or what it is instead of an object."""
    if not isinstance(row, Mapping):
        return _kind(row)
    return "no keys" if not row else "the keys " + ", ".join(sorted(map(str, row))[:8])


def _has(row: Mapping[str, Any], *keys: str) -> bool:
    return all(row.get(key) is not None for key in keys)


def _text_in(row: Mapping[str, Any], column: str) -> bool:
    return isinstance(row.get(column), str)


_TELLS: tuple[tuple[Layout, Callable[[Mapping[str, Any], str], bool]], ...] = (
    (Layout.PREFERENCE, lambda row, _: _has(row, "chosen", "rejected")),
    (Layout.KTO, lambda row, _: _has(row, "prompt", "completion", "label")),
    (Layout.OPENAI, lambda row, _: _has(row, "messages")),
    (Layout.SHAREGPT, lambda row, _: _has(row, "conversations") or _has(row, "conversation")),
    (Layout.ALPACA, lambda row, _: _has(row, "instruction") and any(key in row for key in _OUTPUT_KEYS)),
    (Layout.COMPLETION, lambda row, _: _has(row, "prompt") and any(key in row for key in _COMPLETION_KEYS)),
    (Layout.CHATML, lambda row, column: _text_in(row, column) and "<|im_start|>" in row[column]),
    (Layout.RAW, _text_in),
)


def _from_openai(row: Mapping[str, Any], _: str) -> Example:
    return _conversation(_listed(row, "messages"), tools=row.get("tools"))


def _from_sharegpt(row: Mapping[str, Any], _: str) -> Example:
    turns = _listed(row, "conversations" if row.get("conversations") is not None else "conversation")
    system = row.get("system")
    if isinstance(system, str) and system.strip():
        turns = [{"role": "system", "content": system}, *turns]
    return _conversation(turns, tools=row.get("tools"))


def _from_alpaca(row: Mapping[str, Any], _: str) -> Example:
    instruction = _string(row, "instruction")
    output = _string(row, next((key for key in _OUTPUT_KEYS if key in row), "output"))
    context = _string(row, "input") if row.get("input") is not None else ""
    asked = f"{instruction}\n\n{context}" if context.strip() else instruction
    turns: list[Any] = [{"role": "user", "content": asked}, {"role": "assistant", "content": output}]
    if row.get("system") is not None:
        turns.insert(0, {"role": "system", "content": _string(row, "system")})
    return _conversation(turns)


def _from_completion(row: Mapping[str, Any], _: str) -> Example:
    key = next((key for key in _COMPLETION_KEYS if key in row), "completion")
    prompt, completion = _maybe_json_list(row.get("prompt")), _maybe_json_list(row.get(key))
    if isinstance(prompt, list) and isinstance(completion, list):
        asked, answered = _conversation(prompt), _conversation(completion)
        unlearned = (False,) * len(asked.messages)
        tools = _tools(row.get("tools"))
        return Conversation(asked.messages + answered.messages, unlearned + answered.learned, tools)
    return Pair(_string(row, "prompt"), _string(row, key))


def _from_chatml(row: Mapping[str, Any], text_column: str) -> Example:
    text = _string(row, text_column)
    turns: list[Any] = []
    at = 0
    for found in _CHATML_TURN.finditer(text):
        if text[at : found.start()].strip():
            break
        turns.append({"role": found[1].strip(), "content": found[2]})
        at = found.end()
    if text[at:].strip() or not turns:
        raise RowError(f'ChatML text has something outside its turns: "{excerpt(text[at:])}"')
    return _conversation(turns)


def _from_raw(row: Mapping[str, Any], text_column: str) -> Example:
    text = _string(row, text_column)
    if not text.strip():
        raise RowError(f'"{text_column}" is empty')
    return Passage(text)


_READERS: Mapping[Layout, Callable[[Mapping[str, Any], str], Example]] = {
    Layout.OPENAI: _from_openai,
    Layout.SHAREGPT: _from_sharegpt,
    Layout.ALPACA: _from_alpaca,
    Layout.COMPLETION: _from_completion,
    Layout.CHATML: _from_chatml,
    Layout.RAW: _from_raw,
}


def _conversation(turns: Iterable[Any], *, tools: Any = None) -> Conversation:
    messages: list[Message] = []
    learned: list[bool] = []
    for number, turn in enumerate(turns, start=1):
        message = _message(turn, number)
        messages.append(message)
        learned.append(message["role"] == "assistant" and _is_weighted(turn))
    if not messages:
        raise RowError("the conversation is empty")
    return Conversation(tuple(messages), tuple(learned), _tools(tools))


def _message(turn: Any, number: int) -> Message:
    if not isinstance(turn, Mapping):
        raise RowError(f"turn {number} is {_kind(turn)}, not an object with role and content")
    said = turn.get("role", turn.get("from"))
    role = ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        close = nearest(said, ROLES) if isinstance(said, str) else None
        meant = f' (did you mean "{close}"?)' if close else ""
        raise RowError(f"turn {number} has the role {json.dumps(said, default=str, ensure_ascii=False)}{meant}")
    kept = {key: value for key, value in turn.items() if value is not None and key not in _TURN_KEYS}
    message: dict[str, Any] = {"role": role, **kept}
    calls = turn.get("tool_calls")
    content = turn.get("content", turn.get("value"))
    if content is not None or not calls:
        message["content"] = _content(content, number)
    if calls:
        message["tool_calls"] = _tool_calls(calls, number)
    return message


_TURN_KEYS = frozenset({"role", "from", "content", "value", "tool_calls", "weight"})


def _content(content: Any, number: int) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        raise RowError(f"turn {number} has no content")
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type", "text") == "text"]
    if len(texts) != len(parts) or not all(isinstance(text, str) for text in texts):
        raise RowError(f"turn {number} has content that is not text ({_kind(content)})")
    return "".join(text for text in texts if text)


def _tool_calls(calls: Any, number: int) -> list[dict[str, Any]]:
    """The calls with their arguments as objects: templates write them as JSON themselves."""
    whole = isinstance(calls, list) and all(
        isinstance(call, Mapping)
        and isinstance(call.get("function"), Mapping)
        and isinstance(call["function"].get("name"), str)
        for call in calls
    )
    if not whole:
        raise RowError(f'turn {number} has tool calls without a "function" that has a "name"')
    return [{**call, "function": {**call["function"], **_arguments(call["function"])}} for call in calls]


def _arguments(function: Mapping[str, Any]) -> dict[str, Any]:
    given = function.get("arguments")
    if not isinstance(given, str):
        return {}
    try:
        read = json.loads(given)
    except ValueError:
        return {}
    return {"arguments": read} if isinstance(read, dict) else {}


def _tools(tools: Any) -> tuple[Mapping[str, Any], ...]:
    tools = _maybe_json_list(tools)
    if tools in (None, "", []):
        return ()
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise RowError('"tools" is not a list of function descriptions')
    return tuple(tools)


def _is_weighted(turn: Mapping[str, Any]) -> bool:
    return turn.get("weight") is None or bool(turn["weight"])


def _listed(row: Mapping[str, Any], key: str) -> list[Any]:
    value = _maybe_json_list(row.get(key))
    if not isinstance(value, list):
        raise RowError(f'"{key}" is {_kind(value)}, not a list of turns')
    return value


def _maybe_json_list(value: Any) -> Any:
    """A list that a table file holds as JSON text; anything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            read = json.loads(value)
        except ValueError:
            return value
        return read if isinstance(read, list) and all(isinstance(item, Mapping) for item in read) else value
    return value


def _string(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise RowError(f'"{key}" is missing' if value is None else f'"{key}" is {_kind(value)}, not text')
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else f"a {type(value).__name__}")
