"""Rows that are certainly fine, told in a few microseconds; whatever is not certain here is judged exactly elsewhere.

A row is fine when its line holds none of the bytes that text checks look for (:func:`is_plain_line`) and its value has
the usual shape of its layout (:func:`is_usual_row`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from backprop.plan.data.conversation import REASONING_KEYS
from backprop.plan.data.layout import COMPLETION_KEYS, OUTPUT_KEYS, PROMPT_KEYS, Layout

_ANGLED = re.compile(rb"<(?:\||/?s>|<|(?:start|end)_of_turn>|/?think>|bos>|eos>|pad>|unk>|\xef\xbd\x9c)")
_ESCAPED = re.compile(rb"\\(?:[bf/]|u(?:00[0-9]|[dDfF]))")
"""Escapes of ASCII and control characters, surrogates and full-width forms; other letters may be escaped freely."""
_INSTRUCTION = re.compile(rb"INST\]")
_C1 = re.compile(rb"\xc2[\x80-\x9f]")
_C0 = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""JSON must escape these; a line of plain text may hold them."""


def is_plain_line(raw: bytes) -> bool:
    """The line holds no tag, no template token, no control character and no surrogate, however it is escaped.

    A single byte is looked for in 0.2 µs a kilobyte, an expression with a literal beginning in 1 µs; ``in`` for two
    bytes takes 4 µs.
    """
    return not (
        (b"<" in raw and _ANGLED.search(raw))
        or _ESCAPED.search(raw)
        or _INSTRUCTION.search(raw)
        or b"\x7f" in raw
        or (not raw.isascii() and _C1.search(raw))
    )


def is_usual_row(row: Any, layout: Layout, *, text_column: str) -> bool:
    """The value is a row of ``layout`` and of no other, nothing is blank, and the turns follow as they should."""
    if type(row) is str:
        return layout is Layout.RAW and not _is_blank(row) and not _C0.search(row)
    if type(row) is not dict:
        return False
    usual = _USUAL.get(layout)
    return usual is not None and _UNUSUAL_KEYS[layout].isdisjoint(row) and usual(row, text_column)


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


_ASKERS, _ANSWERERS = frozenset({"user", "human"}), frozenset({"assistant", "gpt"})
_FOLLOWING: Mapping[str, frozenset[str]] = {
    "": _ASKERS | {"system"},
    "system": _ASKERS,
    **dict.fromkeys(_ASKERS, _ANSWERERS),
    **dict.fromkeys(_ANSWERERS, _ASKERS),
}
"""The roles that may follow one; only answers may be last."""


_BARE = len(("role", "content"))
_WEIGHED = frozenset({"tool_calls", "weight", *REASONING_KEYS})
_JUDGED_KEYS = {"role": _WEIGHED, "from": _WEIGHED | {"role", "content"}}
"""Keys of a turn that take reading to judge; what else stands beside its text is for the chat template alone."""


def _are_usual_turns(turns: Any, role_key: str, text_key: str) -> bool:
    if type(turns) is not list or not turns:
        return False
    follows = _FOLLOWING[""]
    for turn in turns:
        if type(turn) is not dict or (len(turn) != _BARE and not _JUDGED_KEYS[role_key].isdisjoint(turn)):
            return False
        role, text = turn.get(role_key), turn.get(text_key)
        if type(role) is not str or role not in follows or type(text) is not str or not text or text.isspace():
            return False
        follows = _FOLLOWING[role]
    return role in _ANSWERERS


def _is_usual_text(text: Any) -> bool:
    """Text that is not blank, and not a list written as text."""
    return type(text) is str and not _is_blank(text) and text.lstrip()[0] != "["


def _openai(row: Mapping[str, Any], _: str) -> bool:
    return _are_usual_turns(row.get("messages"), "role", "content")


def _sharegpt(row: Mapping[str, Any], _: str) -> bool:
    return _are_usual_turns(row.get("conversations"), "from", "value")


def _alpaca(row: Mapping[str, Any], _: str) -> bool:
    if type(row.get("system", "")) is not str:
        return False
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
    chosen, rejected = row.get("chosen"), row.get("rejected")
    prompt = next((row[key] for key in PROMPT_KEYS if row.get(key) is not None), "")
    if type(prompt) is not str or prompt.lstrip()[:1] == "[" or type(row.get("input", "")) is not str:
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
    Layout.SHAREGPT: frozenset({*_FOREIGN, "messages", "conversation"}),
    Layout.ALPACA: frozenset({*_FOREIGN, "messages", "conversations", "conversation"}),
    Layout.COMPLETION: frozenset({*_FOREIGN, "messages", "conversations", "conversation", "instruction"}),
    Layout.RAW: frozenset({*_FOREIGN, "messages", "conversations", "conversation", "instruction", "prompt"}),
}
"""Keys that could make the row one of an earlier layout, or that take reading to judge."""
