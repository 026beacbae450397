"""Ollama's Modelfile: read as Ollama reads it, and turned into the fields that its HTTP interface takes.

The interface has no field for a Modelfile as such, and its server checks neither names nor values of parameters, so
that both are judged here.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import attrs

from backprop.plan.decision import Problem, Refused
from backprop.plan.settings.nearest import nearest

Value: TypeAlias = "int | float | bool | str"


@attrs.frozen
class Instruction:
    """One instruction as it stands in the file."""

    name: str
    """In capitals."""
    value: str
    line: int
    subject: str = ""
    """The name of a PARAMETER, the role of a MESSAGE."""


@attrs.frozen
class Modelfile:
    """What a Modelfile says of a model."""

    source: str = ""
    """FROM as it is written: a name, or the path of a file; empty when there is none."""
    adapters: tuple[str, ...] = ()
    template: str | None = None
    system: str | None = None
    licenses: tuple[str, ...] = ()
    parameters: tuple[tuple[str, Value | tuple[str, ...]], ...] = ()
    messages: tuple[tuple[str, str], ...] = ()
    """(role, content)"""


class UnfinishedValue(Exception):
    """A quote was opened in this line and never closed."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


_WITH_SUBJECT = frozenset({"PARAMETER", "MESSAGE"})


def read_instructions(text: str) -> Iterator[Instruction]:
    """Every instruction, known or not. Raises :class:`UnfinishedValue`.

    There are no escapes: a value is the rest of the line without blanks around it, or what stands between ``\"\"\"``,
    or between ``"``, over any number of lines.
    """
    lines = enumerate(text.replace("\r\n", "\n").split("\n"), start=1)
    for number, line in lines:
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, rest = _first_word(stripped)
        subject = ""
        if name.upper() in _WITH_SUBJECT:
            subject, rest = _first_word(rest)
        while (value := _unquoted(rest.strip())) is None:
            following = next(lines, None)
            if following is None:
                raise UnfinishedValue(number)
            rest += "\n" + following[1]
        yield Instruction(name.upper(), value, number, subject)


def _first_word(text: str) -> tuple[str, str]:
    word, *rest = text.split(None, 1)[:2] or [""]
    return word, rest[0] if rest else ""


def _unquoted(text: str) -> str | None:
    """The value, or None while its quote is open."""
    for quote in ('"""', '"'):
        if text.startswith(quote):
            closed = len(text) >= 2 * len(quote) and text.endswith(quote)
            return text[len(quote) : -len(quote)] if closed else None
    return text


class Role(enum.Enum):
    """Who speaks in a MESSAGE."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


def _truth(text: str) -> bool:
    words = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
    return words[text.lower()]


def _real(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


_READERS: Mapping[str, Callable[[str], Value]] = {
    **dict.fromkeys(("num_keep", "seed", "num_predict", "top_k", "repeat_last_n", "mirostat"), int),
    **dict.fromkeys(("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict"), int),
    **dict.fromkeys(("top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "tfs_z"), _real),
    **dict.fromkeys(("presence_penalty", "frequency_penalty", "mirostat_tau", "mirostat_eta"), _real),
    **dict.fromkeys(("use_mmap", "use_mlock", "numa", "low_vram", "penalize_newline"), _truth),
    "stop": str,
}
"""The parameters that Ollama knows, by how their values are read. ``stop`` may stand more than once."""
_SHAPES: Mapping[Callable[[str], Value], str] = {int: "a whole number", _real: "a number", _truth: "true or false"}


def parse_modelfile(text: str, *, name: str) -> Modelfile | Refused:
    """The Modelfile ``name``; the refusal carries INPUT_VALIDATION_FAILED for each line that cannot be used."""
    try:
        instructions = tuple(read_instructions(text))
    except UnfinishedValue as unfinished:
        return Refused((_problem(name, unfinished.line, "a quote is opened and never closed"),))
    found = Modelfile()
    problems: list[Problem] = []
    for instruction in instructions:
        take = _TAKERS.get(instruction.name)
        taken = _unknown(instruction) if take is None else take(found, instruction)
        if isinstance(taken, str):
            problems.append(_problem(name, instruction.line, taken))
        else:
            found = taken
    return Refused(tuple(problems)) if problems else found


def _problem(name: str, line: int, what: str) -> Problem:
    return Problem(
        "INPUT_VALIDATION_FAILED",
        f"{name}:{line}: {what}.",
        where="--modelfile",
        hint="Fix the line, or leave --modelfile out: template and stop tokens are then those of the training.",
    )


def _unknown(instruction: Instruction) -> str:
    close = nearest(instruction.name, tuple(_TAKERS))
    known = f"did you mean {close}" if close else f"those that can be used are {', '.join(_TAKERS)}"
    return f"the instruction {instruction.name} cannot be used; {known}"


def _once(field: str) -> Callable[[Modelfile, Instruction], Modelfile | str]:
    def take(found: Modelfile, instruction: Instruction) -> Modelfile | str:
        if getattr(found, field):
            return f"{instruction.name} stands more than once"
        if not instruction.value and instruction.name == "FROM":
            return "FROM names nothing"
        return attrs.evolve(found, **{field: instruction.value})  # type: ignore[arg-type]

    return take


def _adapter(found: Modelfile, instruction: Instruction) -> Modelfile | str:
    if found.adapters:
        return "ADAPTER stands more than once, and only one adapter can be applied"
    if not instruction.value.lower().endswith(".gguf"):
        return f"ADAPTER takes a .gguf file, not {instruction.value!r}"
    return attrs.evolve(found, adapters=(instruction.value,))


def _license(found: Modelfile, instruction: Instruction) -> Modelfile:
    return attrs.evolve(found, licenses=(*found.licenses, instruction.value))


def _message(found: Modelfile, instruction: Instruction) -> Modelfile | str:
    roles = tuple(role.value for role in Role)
    if instruction.subject not in roles:
        return f"MESSAGE is said by one of {', '.join(roles)}, not by {instruction.subject!r}"
    return attrs.evolve(found, messages=(*found.messages, (instruction.subject, instruction.value)))


def _parameter(found: Modelfile, instruction: Instruction) -> Modelfile | str:
    name = instruction.subject.lower()
    read = _READERS.get(name)
    if read is None:
        close = nearest(name, tuple(_READERS))
        return f"there is no parameter {instruction.subject}" + (f"; did you mean {close}?" if close else "")
    try:
        value = read(instruction.value)
    except (ValueError, KeyError):
        return f"{name} takes {_SHAPES[read]}, not {instruction.value!r}"
    known = dict(found.parameters)
    if name == "stop":
        return attrs.evolve(found, parameters=_items({**known, name: (*_stops(known), str(value))}))
    return attrs.evolve(found, parameters=_items({**known, name: value}))


def _stops(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    held = parameters.get("stop", ())
    assert isinstance(held, tuple)
    return held


def _items(parameters: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(parameters.items())


_TAKERS: Mapping[str, Callable[[Modelfile, Instruction], Modelfile | str]] = {
    "FROM": _once("source"),
    "ADAPTER": _adapter,
    "TEMPLATE": _once("template"),
    "SYSTEM": _once("system"),
    "LICENSE": _license,
    "PARAMETER": _parameter,
    "MESSAGE": _message,
}


def names_a_file(source: str) -> bool:
    """Whether FROM means a file; Ollama itself takes a file that is missing for the name of a model."""
    return source.startswith((".", "/", "~", "\\")) or source.lower().endswith((".gguf", ".safetensors", ".bin"))


def create_body(
    modelfile: Modelfile,
    *,
    name: str,
    from_model: str | None = None,
    files: Mapping[str, str] | None = None,
    adapters: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What POST /api/create takes. ``files`` and ``adapters`` are digests by file name; paths never leave."""
    optional = {
        "from": from_model,
        "files": dict(files or {}),
        "adapters": dict(adapters or {}),
        "template": modelfile.template,
        "system": modelfile.system,
        "license": list(modelfile.licenses),
        "parameters": {key: list(v) if isinstance(v, tuple) else v for key, v in modelfile.parameters},
        "messages": [{"role": role, "content": content} for role, content in modelfile.messages],
    }
    return {"model": name, **{key: value for key, value in optional.items() if value}, "stream": True}
