"""Where in its row a fault stands: from turns of the normal form back to the keys of the layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backprop.plan.data.check import Check, Fault
from backprop.plan.data.conversation import Conversation, Example, Preference, Rated
from backprop.plan.data.layout import COMPLETION_KEYS, OUTPUT_KEYS, Layout
from backprop.plan.data.messages import list_in_text
from backprop.plan.data.rows import answer_key, has_system_beside, prompt_key, turns_key

_OF_ROLES = (Check.ROLE_ORDER, Check.SYSTEM_INSIDE)


def key_of(fault: Fault, example: Example, row: Any, layout: Layout, *, text_column: str) -> str:
    """The key of a fault in the row that ``example`` was read from, such as ``conversations[2].value``."""
    if not isinstance(row, Mapping) or layout in (Layout.CHATML, Layout.RAW):
        return text_column
    if layout is Layout.ALPACA:
        return _in_alpaca(fault, row)
    name = _answer_key(fault, row, layout)
    asked = prompt_key(row) if layout is Layout.PREFERENCE else "prompt"
    turns, prompt = list_in_text(row.get(name)), list_in_text(row.get(asked))
    if not isinstance(turns, list):
        return asked if fault.side == "prompt" else _in_text(fault, (asked, name), has_system=has_system_beside(row))
    if fault.turn is None:
        return name
    index = fault.turn - (_num_turns(example, fault.side) - len(turns))
    if index >= 0:
        return _turn_key(fault, name, index, turns[index])
    if layout is Layout.SHAREGPT:
        return "system"
    return _turn_key(fault, asked, fault.turn, prompt[fault.turn]) if isinstance(prompt, list) else asked


def _answer_key(fault: Fault, row: Mapping[str, Any], layout: Layout) -> str:
    """The key that holds the turns, or the answer to a prompt."""
    if layout is Layout.OPENAI:
        return "messages"
    if layout is Layout.SHAREGPT:
        return turns_key(row)
    return fault.side if layout is Layout.PREFERENCE else answer_key(row, COMPLETION_KEYS)


def _in_alpaca(fault: Fault, row: Mapping[str, Any]) -> str:
    names = ("instruction", answer_key(row, OUTPUT_KEYS))
    return (("system", *names) if row.get("system") is not None else names)[-1 if fault.turn is None else fault.turn]


def _in_text(fault: Fault, names: tuple[str, str], *, has_system: bool) -> str:
    """Prompt and answer are text; with a system prompt beside them they are read as turns."""
    return (("system", *names) if has_system else names)[-1 if fault.turn is None else fault.turn]


def _num_turns(example: Example, side: str) -> int:
    if isinstance(example, Preference):
        example = example.rejected if side == "rejected" else example.chosen
    elif isinstance(example, Rated):
        example = example.example
    return len(example.messages) if isinstance(example, Conversation) else 0


def _turn_key(fault: Fault, name: str, index: int, turn: Mapping[str, Any]) -> str:
    first, second = ("role", "from") if fault.check in _OF_ROLES else ("content", "value")
    return f"{name}[{index}].{second if first not in turn and second in turn else first}"
