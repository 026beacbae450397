"""What can be wrong with an example that was read: a pure judgement, the same for every layout."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import assert_never

from backprop.plan.data.check import Check, Fault
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
from backprop.plan.data.excerpt import excerpt

SYSTEM_ROLES = ("system", "developer")

_BARE = len(("role", "content"))
"""Fields of a message that has nothing beside its text."""

_TEMPLATE_TOKEN = re.compile(
    r"<\|[\w-]{1,40}\|>|<｜[^\n｜]{1,40}｜>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"
)
"""Control tokens of the families of chat templates; a tokenizer reads its own out of any text."""

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""C0 but for tab and line ends, DEL, C1."""

_THINK = re.compile("</?think>")


def check_example(example: Example) -> tuple[Fault, ...]:
    """Every fault of an example, in the order of its text."""
    if isinstance(example, Conversation):
        return tuple(_conversation(example))
    if isinstance(example, Pair):
        return tuple(_pair(example))
    if isinstance(example, Passage):
        return tuple(_text(example.text, side="text"))
    if isinstance(example, Preference):
        return tuple(_preference(example))
    if isinstance(example, Rated):
        return check_example(example.example)
    assert_never(example)


def _conversation(conversation: Conversation, *, side: str = "", start: int = 0) -> Iterator[Fault]:
    """The faults of the turns from ``start`` on, and of how they follow each other."""
    for turn, message in enumerate(conversation.messages[start:], start=start):
        yield from _message(message, turn, side)
    roles = [message["role"] for message in conversation.messages]
    if "assistant" not in roles:
        yield Fault(Check.NO_ASSISTANT, "no turn is the assistant's", side=side)
    elif not side and not any(conversation.learned):
        yield Fault(Check.NO_ASSISTANT, "every turn of the assistant has the weight 0", side=side)
    else:
        yield from (fault for fault in _order(roles, side) if fault.turn is not None and fault.turn >= start)


def _message(message: Message, turn: int, side: str) -> Iterator[Fault]:
    content, role = message.get("content", ""), message["role"]
    reasoning = reasoning_of(message) if len(message) > _BARE else ""
    if role == "assistant":
        if not content.strip() and not reasoning.strip() and not message.get("tool_calls"):
            yield Fault(Check.EMPTY_ASSISTANT, "the assistant's turn is blank", turn, side)
        yield from _think(content, turn, side)
        if not message.get("tool_calls") and (_is_trace_alone(content) or (reasoning.strip() and not content.strip())):
            yield Fault(Check.ONLY_TRACE, "nothing follows the reasoning", turn, side)
    elif role == "user" and not content.strip():
        yield Fault(Check.EMPTY_USER, "the user's turn is blank", turn, side)
    yield from _text(content, turn, side)
    if reasoning:
        yield from _text(reasoning, turn, side)


def _order(roles: Sequence[str], side: str) -> Iterator[Fault]:
    asked = answered = False
    for turn, role in enumerate(roles):
        before = roles[turn - 1] if turn else None
        if role == "assistant" and before == "assistant":
            yield Fault(Check.ROLE_ORDER, "the assistant speaks twice running", turn, side)
        elif role == "assistant" and not asked and not answered:
            yield Fault(Check.ROLE_ORDER, "the assistant speaks before anybody asked", turn, side)
        elif role in SYSTEM_ROLES and before not in (None, *SYSTEM_ROLES):
            yield Fault(Check.SYSTEM_INSIDE, f"a turn of the {role} follows one of the {before}", turn, side)
        answered = answered or role == "assistant"
        asked = asked or role not in (*SYSTEM_ROLES, "assistant")
    if roles[-1] != "assistant":
        yield Fault(Check.ROLE_ORDER, f"the last turn is the {roles[-1]}'s, which nobody answers", len(roles) - 1, side)


def _pair(pair: Pair, *, side: str = "completion", with_prompt: bool = True) -> Iterator[Fault]:
    if with_prompt:
        if not pair.prompt.strip():
            yield Fault(Check.EMPTY_USER, "the prompt is blank", side="prompt")
        yield from _text(pair.prompt, side="prompt")
    if not pair.completion.strip():
        answer = side if side == "completion" else f"{side} answer"
        yield Fault(Check.EMPTY_ASSISTANT, f"the {answer} is blank", side=side)
    yield from _think(pair.completion, None, side)
    if _is_trace_alone(pair.completion):
        yield Fault(Check.ONLY_TRACE, "nothing follows the reasoning", side=side)
    yield from _text(pair.completion, side=side)


def _preference(preference: Preference) -> Iterator[Fault]:
    """The prompt is judged once, with the chosen answer."""
    chosen, rejected = preference.chosen, preference.rejected
    if isinstance(chosen, Pair) and isinstance(rejected, Pair):
        equal = chosen.completion.strip() == rejected.completion.strip()
        yield from _pair(chosen, side="chosen")
        yield from _pair(rejected, side="rejected", with_prompt=False)
    else:
        assert isinstance(chosen, Conversation), "both are read alike"
        assert isinstance(rejected, Conversation), "both are read alike"
        equal = chosen.messages == rejected.messages
        yield from _conversation(chosen, side="chosen")
        if not equal:
            yield from _conversation(rejected, side="rejected", start=_shared(chosen, rejected))
    if equal:
        answer = rejected.completion if isinstance(rejected, Pair) else rejected.messages[-1].get("content", "")
        yield Fault(Check.EQUAL_PAIR, "both answers are equal", None, "rejected", excerpt(answer))


def _shared(one: Conversation, other: Conversation) -> int:
    """How many turns both begin with."""
    pairs = enumerate(zip(one.messages, other.messages, strict=False))
    return next((turn for turn, (a, b) in pairs if a != b), min(len(one.messages), len(other.messages)))


def _text(text: str, turn: int | None = None, side: str = "") -> Iterator[Fault]:
    """What no text should hold, each sort once."""
    found = _CONTROL.search(text)
    if found is not None:
        message = f"U+{ord(found[0]):04X} at character {found.start() + 1}"
        yield Fault(Check.CONTROL_CHARACTER, message, turn, side, _around(text, found.start()))
    if "<" in text or "[" in text:
        token = _TEMPLATE_TOKEN.search(text)
        if token is not None:
            message = f"{token[0]} at character {token.start() + 1}"
            yield Fault(Check.TEMPLATE_TOKEN, message, turn, side, _around(text, token.start()))
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as half:
            message = f"U+{ord(text[half.start]):04X} at character {half.start + 1} is half of a surrogate pair"
            yield Fault(Check.HALF_CHARACTER, message, turn, side)


def _think(text: str, turn: int | None, side: str) -> Iterator[Fault]:
    if "think>" not in text:
        return
    is_open = False
    for tag in _THINK.finditer(text):
        if (tag[0] == "<think>") == is_open:
            message = f"{tag[0]} at character {tag.start() + 1} {'opens twice' if is_open else 'closes nothing'}"
            yield Fault(Check.UNBALANCED_THINK, message, turn, side, _around(text, tag.start()))
            return
        is_open = not is_open
    if is_open:
        last = text.rfind("<think>")
        message = f"<think> at character {last + 1} is never closed"
        yield Fault(Check.UNBALANCED_THINK, message, turn, side, _around(text, last))


def _is_trace_alone(text: str) -> bool:
    """The text ends with the end of its reasoning."""
    return "<think>" in text and text.rstrip().endswith("</think>")


def _around(text: str, at: int) -> str:
    """The text from a few characters before ``at``."""
    return excerpt(text[max(0, at - 20) :])
