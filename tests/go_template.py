"""Go's text/template as far as the templates for Ollama use it, and what Ollama puts into one.

An interpreter of its own, so that what is written for Go is read by something else than what wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_ACTION = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_WORD = re.compile(r'"[^"]*"|[()]|[^\s()]+')


def prompt_of(template: str, messages: Sequence[Mapping[str, str]]) -> str:
    """The prompt that Ollama makes of a conversation: equal neighbours joined, system prompts also in ``.System``."""
    joined: list[dict[str, str]] = []
    for message in messages:
        if joined and joined[-1]["Role"] == message["role"]:
            joined[-1]["Content"] += "\n\n" + message["content"]
        else:
            joined.append({"Role": message["role"], "Content": message["content"]})
    system = "\n\n".join(m["Content"] for m in joined if m["Role"] == "system")
    return execute(template, {"System": system, "Messages": joined})


def execute(template: str, data: Mapping[str, Any]) -> str:
    """What the template writes."""
    nodes, rest = _parse(_tokens(template))
    assert not rest, "an end without a beginning"
    return _run(nodes, {"$": data}, data)


def _tokens(template: str) -> list[tuple[str, str]]:
    pieces = _ACTION.split(template)
    return [("action" if i % 2 else "text", piece) for i, piece in enumerate(pieces) if piece or i % 2]


def _parse(tokens: list[tuple[str, str]]) -> tuple[list[Any], list[tuple[str, str]]]:
    nodes: list[Any] = []
    while tokens:
        (kind, text), tokens = tokens[0], tokens[1:]
        word = text.split()[0] if kind == "action" else ""
        if word == "end":
            return nodes, [("end", ""), *tokens]
        if word in ("if", "range"):
            inner, tokens = _parse(tokens)
            assert tokens[0][0] == "end", f"{text} has no end"
            tokens = tokens[1:]
            nodes.append((word, text.removeprefix(word).strip(), inner))
        else:
            nodes.append((kind, text, []))
    return nodes, tokens


def _run(nodes: list[Any], names: dict[str, Any], dot: Any) -> str:
    text = ""
    for kind, source, inner in nodes:
        if kind == "text":
            text += source
        elif kind == "if":
            text += _run(inner, names, dot) if _value(source, names, dot) else ""
        elif kind == "range":
            declared, _, over = source.partition(":=")
            index, element = (name.strip() for name in declared.split(","))
            for i, each in enumerate(_value(over, names, dot)):
                text += _run(inner, {**names, index: i, element: each}, each)
        elif ":=" in source:
            name, _, expression = source.partition(":=")
            names[name.strip()] = _value(expression, names, dot)
        else:
            text += str(_value(source, names, dot))
    return text


def _value(source: str, names: Mapping[str, Any], dot: Any) -> Any:
    words = _WORD.findall(source)
    value, rest = _call(words, names, dot)
    assert not rest, source
    return value


def _call(words: list[str], names: Mapping[str, Any], dot: Any) -> tuple[Any, list[str]]:
    head = words[0]
    arguments = []
    rest = words[1:] if head in _FUNCTIONS else words
    while rest and rest[0] != ")":
        if rest[0] == "(":
            value, rest = _call(rest[1:], names, dot)
            assert rest[0] == ")"
            rest = rest[1:]
        else:
            value, rest = _operand(rest[0], names, dot), rest[1:]
        arguments.append(value)
    if head in _FUNCTIONS:
        return _FUNCTIONS[head](*arguments), rest
    assert len(arguments) == 1, words
    return arguments[0], rest


_FUNCTIONS: Mapping[str, Any] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "and": lambda *values: next((v for v in values if not v), values[-1]),
    "not": lambda value: not value,
    "len": len,
    "slice": lambda values, begin: values[begin:],
}


def _operand(word: str, names: Mapping[str, Any], dot: Any) -> Any:
    if word.startswith('"'):
        return word[1:-1]
    if word.isdigit():
        return int(word)
    name, *fields = word.split(".")
    value = dot if not name else names[name]
    for field in fields:
        value = value[field]
    return value
