"""Modelfiles as text, so that what is read can be compared with what was written."""

from __future__ import annotations

from collections.abc import Sequence

from backprop.plan.export.modelfile import Modelfile, UnfinishedValue, Value, read_instructions


def modelfile_text(modelfile: Modelfile) -> str:
    """A Modelfile that reads back to ``modelfile``. Raises ``ValueError`` for a value that no quote can hold."""
    lines = [f"FROM {_quoted(modelfile.source)}"] if modelfile.source else []
    lines += [f"ADAPTER {_quoted(adapter)}" for adapter in modelfile.adapters]
    lines += [f"TEMPLATE {_quoted(modelfile.template)}"] if modelfile.template is not None else []
    lines += [f"SYSTEM {_quoted(modelfile.system)}"] if modelfile.system is not None else []
    for key, value in modelfile.parameters:
        values: Sequence[Value] = value if isinstance(value, tuple) else (value,)
        lines += [f"PARAMETER {key} {_quoted(_plain(each))}" for each in values]
    lines += [f"LICENSE {_quoted(text)}" for text in modelfile.licenses]
    lines += [f"MESSAGE {role} {_quoted(content)}" for role, content in modelfile.messages]
    return "".join(f"{line}\n" for line in lines)


def _plain(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    """As it is where that reads back, else between three quotes."""
    for written in (text, f'"""{text}"""'):
        try:
            found = list(read_instructions(f"SYSTEM {written}"))
        except UnfinishedValue:
            continue
        if [instruction.value for instruction in found] == [text]:
            return written
    raise ValueError(f"no Modelfile can hold {text!r}")
