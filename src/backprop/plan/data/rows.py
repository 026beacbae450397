"""How a row of each layout becomes the normal form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any

from backprop.plan.data.check import Check
from backprop.plan.data.conversation import Conversation, Example, Pair, Passage, Preference, Rated, RowError
from backprop.plan.data.described import described_key, kind_name
from backprop.plan.data.excerpt import excerpt
from backprop.plan.data.layout import COMPLETION_KEYS, OUTPUT_KEYS, PROMPT_KEYS, Layout
from backprop.plan.data.messages import list_in_text, read_conversation, read_tools

_CHATML_TURN = re.compile(r"<\|im_start\|>([^\n]*)\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL)


def read_row(row: Any, layout: Layout, *, text_column: str) -> Example:
    """The row's normal form. Raises :class:`RowError` saying what is wrong with it."""
    if isinstance(row, str) and layout in (Layout.RAW, Layout.CHATML):
        row = {text_column: row}
    if not isinstance(row, Mapping):
        raise RowError(f"a row is an object with named fields, this is {kind_name(row)}")
    return _READERS[layout](row, text_column)


def answer_key(row: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """The first of ``keys`` that the row has; the first of all when it has none."""
    return next((key for key in keys if key in row), keys[0])


def turns_key(row: Mapping[str, Any]) -> str:
    """The key under which a ShareGPT row has its turns."""
    return "conversation" if row.get("conversations") is None and "conversation" in row else "conversations"


def prompt_key(row: Mapping[str, Any]) -> str:
    """The key under which a preference has its prompt; "prompt" when it has none."""
    return next((key for key in PROMPT_KEYS if row.get(key) is not None), PROMPT_KEYS[0])


def has_system_beside(row: Mapping[str, Any]) -> bool:
    """A row gives its system prompt beside its turns, or beside prompt and answer."""
    system = row.get("system")
    return isinstance(system, str) and bool(system.strip())


def _from_openai(row: Mapping[str, Any], _: str) -> Conversation:
    return read_conversation(_turns(row, "messages"), lambda i: f"messages[{i}]", tools=row.get("tools"))


def _from_sharegpt(row: Mapping[str, Any], _: str) -> Conversation:
    name = turns_key(row)
    turns = _turns(row, name)
    shift = has_system_beside(row)
    if shift:
        turns = [{"role": "system", "content": row["system"]}, *turns]
    return read_conversation(turns, lambda i: f"{name}[{i - shift}]", tools=row.get("tools"))


def _from_alpaca(row: Mapping[str, Any], _: str) -> Conversation:
    asked = _instruction(row)
    output = _text(row, answer_key(row, OUTPUT_KEYS))
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": output}]
    if row.get("system") is not None:
        turns.insert(0, {"role": "system", "content": _text(row, "system")})
    return read_conversation(turns, lambda _: "instruction")


def _instruction(row: Mapping[str, Any]) -> str:
    """The instruction and its input as one question."""
    instruction = _text(row, "instruction")
    context = _text(row, "input") if row.get("input") is not None else ""
    return f"{instruction}\n\n{context}" if context.strip() else instruction


def _from_completion(row: Mapping[str, Any], _: str) -> Conversation | Pair:
    key = answer_key(row, COMPLETION_KEYS)
    prompt, completion = list_in_text(row.get("prompt")), list_in_text(row.get(key))
    if isinstance(prompt, list) and isinstance(completion, list):
        asked = read_conversation(prompt, lambda i: f"prompt[{i}]")
        answered = read_conversation(completion, lambda i: f"{key}[{i}]")
        return _joined(asked, answered, row.get("tools"))
    return _answered(row, _text(row, "prompt"), _text(row, key))


def _answered(row: Mapping[str, Any], prompt: str, answer: str) -> Conversation | Pair:
    """A prompt and its answer; turns where the row gives a system prompt beside them."""
    if not has_system_beside(row):
        return Pair(prompt, answer)
    said = (("system", row["system"]), ("user", prompt), ("assistant", answer))
    messages = tuple({"role": role, "content": content} for role, content in said)
    return Conversation(messages, (False, False, True))


_LABELS = {"true": True, "1": True, "false": False, "0": False}


def _from_kto(row: Mapping[str, Any], _: str) -> Rated:
    example = _from_completion(row, _)
    label = row.get("label")
    if isinstance(label, str):  # all cells of a table are text
        label = _LABELS.get(label.strip().lower(), label)
    if label is None:
        raise RowError(described_key(row, "label"), Check.MISSING_KEY, key="label")
    if not isinstance(label, (bool, int, float)) or label not in (0, 1):
        shown = excerpt(json.dumps(label, ensure_ascii=False, default=str))
        raise RowError(f'"label" is {shown}, neither true nor false', Check.LABEL, key="label")
    return Rated(example, bool(label))


def _from_preference(row: Mapping[str, Any], _: str) -> Preference:
    chosen, rejected = list_in_text(row.get("chosen")), list_in_text(row.get("rejected"))
    if isinstance(chosen, list) and isinstance(rejected, list):
        return _preference_of_turns(row, chosen, rejected)
    better, worse = _text(row, "chosen"), _text(row, "rejected")
    prompt = _prompt(row)
    if prompt is not None:
        return Preference(_answered(row, prompt, better), _answered(row, prompt, worse))
    at = _common_words(better, worse)
    return Preference(Pair(better[:at], better[at:]), Pair(worse[:at], worse[at:]))


def _prompt(row: Mapping[str, Any]) -> str | None:
    """What both answers answer, where it is given as text."""
    key = prompt_key(row)
    if row.get(key) is None:
        return None
    return _instruction(row) if key == "instruction" else _text(row, key)


def _preference_of_turns(row: Mapping[str, Any], chosen: list[Any], rejected: list[Any]) -> Preference:
    """Both conversations whole; only what follows the prompt, given or shared, is learned."""
    better = read_conversation(chosen, lambda i: f"chosen[{i}]")
    worse = read_conversation(rejected, lambda i: f"rejected[{i}]")
    shared = sum(1 for _ in takewhile(lambda two: two[0] == two[1], zip(better.messages, worse.messages, strict=False)))
    key = prompt_key(row)
    prompt = list_in_text(row.get(key))
    if isinstance(prompt, list):
        asked = read_conversation(prompt, lambda i: f"{key}[{i}]")
        if better.messages[: len(asked.messages)] != asked.messages:
            tools = row.get("tools")
            return Preference(_joined(asked, better, tools), _joined(asked, worse, tools))
    elif prompt is not None and not shared and better.messages[0]["role"] == "assistant":
        asked = read_conversation([{"role": "user", "content": _prompt(row)}], lambda _: key)
        return Preference(_joined(asked, better, row.get("tools")), _joined(asked, worse, row.get("tools")))
    return Preference(_unlearned(better, shared, row), _unlearned(worse, shared, row))


def _unlearned(conversation: Conversation, shared: int, row: Mapping[str, Any]) -> Conversation:
    learned = (False,) * shared + conversation.learned[shared:]
    return Conversation(conversation.messages, learned, read_tools(row.get("tools")))


def _joined(asked: Conversation, answered: Conversation, tools: Any) -> Conversation:
    learned = (False,) * len(asked.messages) + answered.learned
    return Conversation(asked.messages + answered.messages, learned, read_tools(tools))


def _common_words(one: str, other: str) -> int:
    """How far two texts agree, cut back to the blank before the word in which they part.

    A prompt that is not given is what both answers begin with, as trl's ``extract_prompt`` has it; the blank belongs
    to the answer, and no word is cut.
    """
    shared, beyond = 0, min(len(one), len(other)) + 1
    while beyond - shared > 1:
        middle = (shared + beyond) // 2
        shared, beyond = (middle, beyond) if one[:middle] == other[:middle] else (shared, middle)
    while shared and not one[shared - 1].isspace():
        shared -= 1
    return max(shared - 1, 0)


def _from_chatml(row: Mapping[str, Any], text_column: str) -> Conversation:
    text = _text(row, text_column)
    turns: list[Any] = []
    at = 0
    for found in _CHATML_TURN.finditer(text):
        if text[at : found.start()].strip():
            break
        turns.append({"role": found[1].strip(), "content": found[2]})
        at = found.end()
    if text[at:].strip() or not turns:
        message = f'ChatML text has something outside its turns: "{excerpt(text[at:])}"'
        raise RowError(message, key=text_column)
    return read_conversation(turns, lambda _: text_column)


def _from_raw(row: Mapping[str, Any], text_column: str) -> Passage:
    text = _text(row, text_column)
    if not text.strip():
        raise RowError(f'"{text_column}" is empty', Check.EMPTY_ROW, key=text_column)
    return Passage(text)


_READERS: Mapping[Layout, Callable[[Mapping[str, Any], str], Example]] = {
    Layout.OPENAI: _from_openai,
    Layout.SHAREGPT: _from_sharegpt,
    Layout.ALPACA: _from_alpaca,
    Layout.COMPLETION: _from_completion,
    Layout.CHATML: _from_chatml,
    Layout.RAW: _from_raw,
    Layout.PREFERENCE: _from_preference,
    Layout.KTO: _from_kto,
}


def _turns(row: Mapping[str, Any], key: str) -> list[Any]:
    value = list_in_text(row.get(key))
    if value is None:
        raise RowError(described_key(row, key), Check.MISSING_KEY, key=key)
    if not isinstance(value, list):
        raise RowError(f"{described_key(row, key)}, not a list of turns", key=key)
    return value


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None:
        raise RowError(described_key(row, key), Check.MISSING_KEY, key=key)
    if not isinstance(value, str):
        raise RowError(f"{described_key(row, key)}, not text", key=key)
    return value
