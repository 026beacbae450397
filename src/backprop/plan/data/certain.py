"""Rows that are certainly fine, told in a few microseconds; whatever is not certain here is judged exactly elsewhere.

A row is fine when its line holds none of the bytes that text checks look for (:func:`is_plain_line`) and its value has
the usual shape of its layout (:func:`is_usual_row`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from backprop.plan.data.layout import COMPLETION_KEYS, OUTPUT_KEYS, Layout

_ANGLED = (b"<|", b"<s>", b"</s>", b"<<", b"_of_turn>", b"think>", b"<bos>", b"<eos>", b"<pad>", b"<unk>")
_FULL_WIDTH = b"<\xef\xbd\x9c"
_ESCAPED = (b"\\b", b"\\f", b"\\/")
_ODD_ESCAPE = re.compile(rb"\\u(?:00[0-9]|[dDfF])")
"""Escapes of ASCII and control characters, surrogates and full-width forms; other letters may be escaped freely."""
_C1 = re.compile(rb"\xc2[\x80-\x9f]")


def is_plain_line(raw: bytes) -> bool:
    """The line holds no tag, no template token, no control character and no surrogate, however it is escaped."""
    if b"<" in raw and (_FULL_WIDTH in raw or any(mark in raw for mark in _ANGLED)):
        return False
    if b"\\" in raw and (any(escape in raw for escape in _ESCAPED) or (b"\\u" in raw and _ODD_ESCAPE.search(raw))):
        return False
    return b"INST]" not in raw and b"\x7f" not in raw and not (b"\xc2" in raw and _C1.search(raw))


def is_usual_row(row: Any, layout: Layout, *, text_column: str) -> bool:
    """The value is a row of ``layout`` and of no other, nothing is blank, and the turns follow as they should."""
    if type(row) is str:
        return layout is Layout.RAW and not _is_blank(row)
    if type(row) is not dict:
        return False
    usual = _USUAL.get(layout)
    return usual is not None and _UNUSUAL_KEYS[layout].isdisjoint(row) and usual(row, text_column)


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


_FOLLOWING: Mapping[str, Mapping[str, str]] = {
    "": {"system": "system", "user": "user", "human": "user"},
    "system": {"user": "user", "human": "user"},
    "user": {"assistant": "assistant", "gpt": "assistant"},
    "assistant": {"user": "user", "human": "user"},
}
"""The roles that may follow one."""


def _are_usual_turns(turns: Any, role_key: str, text_key: str) -> bool:
    if type(turns) is not list:
        return False
    state = ""
    for turn in turns:
        if type(turn) is not dict or len(turn) != 2:
            return False
        role, text = turn.get(role_key), turn.get(text_key)
        if type(role) is not str or type(text) is not str or _is_blank(text):
            return False
        follows = _FOLLOWING[state]
        if role not in follows:
            return False
        state = follows[role]
    return state == "assistant"


def _is_usual_text(text: Any) -> bool:
    """Text that is not blank, and not a list written as text."""
    return type(text) is str and not _is_blank(text) and text.lstrip()[0] != "["


def _openai(row: Mapping[str, Any], _: str) -> bool:
    return _are_usual_turns(row.get("messages"), "role", "content")


def _sharegpt(row: Mapping[str, Any], _: str) -> bool:
    return _are_usual_turns(row.get("conversations"), "from", "value")


def _alpaca(row: Mapping[str, Any], _: str) -> bool:
    key = OUTPUT_KEYS[0] if OUTPUT_KEYS[0] in row else OUTPUT_KEYS[1]
    return _is_usual_text(row.get("instruction")) and _is_usual_text(row.get(key)) and type(row.get("input", "")) is str


def _completion(row: Mapping[str, Any], _: str) -> bool:
    key = COMPLETION_KEYS[0] if COMPLETION_KEYS[0] in row else COMPLETION_KEYS[1]
    return _is_usual_text(row.get("prompt")) and _is_usual_text(row.get(key))


def _raw(row: Mapping[str, Any], text_column: str) -> bool:
    text = row.get(text_column)
    return type(text) is str and not _is_blank(text)


def _kto(row: Mapping[str, Any], _: str) -> bool:
    return type(row.get("label")) is bool and "completion" in row and _completion(row, _)


def _preference(row: Mapping[str, Any], _: str) -> bool:
    chosen, rejected, prompt = row.get("chosen"), row.get("rejected"), row.get("prompt", "")
    if type(prompt) is not str or prompt.lstrip()[:1] == "[":
        return False
    if type(chosen) is str and type(rejected) is str:
        usual = _is_usual_text(chosen) and _is_usual_text(rejected) and not _is_blank(prompt)
        return usual and chosen.strip() != rejected.strip()
    both = _are_usual_turns(chosen, "role", "content") and _are_usual_turns(rejected, "role", "content")
    return both and chosen != rejected


_USUAL: Mapping[Layout, Callable[[Mapping[str, Any], str], bool]] = {
    Layout.OPENAI: _openai,
    Layout.SHAREGPT: _sharegpt,
    Layout.ALPACA: _alpaca,
    Layout.COMPLETION: _completion,
    Layout.RAW: _raw,
    Layout.KTO: _kto,
    Layout.PREFERENCE: _preference,
}

_FOREIGN = ("chosen", "label", "tools")
_UNUSUAL_KEYS: Mapping[Layout, frozenset[str]] = {
    Layout.PREFERENCE: frozenset({"tools"}),
    Layout.KTO: frozenset({"chosen", "tools"}),
    Layout.OPENAI: frozenset(_FOREIGN),
    Layout.SHAREGPT: frozenset({*_FOREIGN, "messages", "system", "conversation"}),
    Layout.ALPACA: frozenset({*_FOREIGN, "messages", "conversations", "conversation", "system"}),
    Layout.COMPLETION: frozenset({*_FOREIGN, "messages", "conversations", "conversation", "instruction"}),
    Layout.RAW: frozenset({*_FOREIGN, "messages", "conversations", "conversation", "instruction", "prompt"}),
}
"""Keys that could make the row one of an earlier layout, or that take reading to judge."""
