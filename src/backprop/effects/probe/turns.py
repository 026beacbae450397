"""What Ollama needs of a chat template: the turns around contents, stop tokens and the default system prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateSyntaxError

from backprop.effects.probe.chat_template import ChatTemplate
from backprop.effects.probe.tokenizer import observe_tokenizer
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.export.gguf_file import GgufFile
from backprop.plan.export.modelfile import Modelfile
from backprop.plan.export.turn_format import Messages, NoTurnFormat, derive_turns, go_template, stop_tokens
from backprop.plan.facts.absent import Absent

_HINT = "Write a Modelfile with a TEMPLATE of its own and pass it with --modelfile."


def modelfile_of_gguf(file: GgufFile) -> Modelfile:
    """TEMPLATE, SYSTEM and stop tokens from the template in the file; empty when it has none.

    Raises ``BackpropError`` INPUT_CHAT_TEMPLATE_INVALID for a template whose prompts Ollama could not write.
    """
    if file.chat_template is None:
        return Modelfile()
    named = {"bos_token": file.bos or "", "eos_token": file.eos or ""}
    try:
        template = ChatTemplate(file.chat_template, special_tokens=named)
    except TemplateSyntaxError as wrong:
        raise _invalid(file.path, f"it has an error in line {wrong.lineno}: {wrong.message}") from wrong
    bos = file.bos if file.adds_bos else None
    return _modelfile(template.render, bos=bos, eos=file.eos, special=file.special_tokens, path=file.path)


def modelfile_of_tokenizer(directory: Path) -> Modelfile:
    """The same from the tokenizer and the chat template that an adapter was trained with."""
    tokenizer = observe_tokenizer(str(directory), chat_template=None)
    if isinstance(tokenizer, Absent):
        raise BackpropError(tokenizer.problem)
    if not tokenizer.has_template:
        return Modelfile()
    bos = tokenizer.facts.bos_token
    added = tokenizer.encode("", add_special_tokens=True).tokens
    return _modelfile(
        tokenizer.render,
        bos=bos if bos and added[:1] == [bos] else None,
        eos=tokenizer.facts.eos_token,
        special=tokenizer.special_tokens,
        path=str(directory),
    )


def _modelfile(render: Any, *, bos: str | None, eos: str | None, special: Sequence[str], path: str) -> Modelfile:
    def ask(messages: Messages, generation: bool) -> str:
        text: str = render(_copied(messages), generation)
        return text

    turns = derive_turns(ask, bos=bos or "")
    if isinstance(turns, NoTurnFormat):
        raise _invalid(path, f"Ollama cannot write its prompts: {turns.reason}")
    stops = stop_tokens(turns, special=special, eos=eos)
    return Modelfile(
        template=go_template(turns), system=turns.default_system, parameters=(("stop", stops),) if stops else ()
    )


def _copied(messages: Messages) -> list[Mapping[str, str]]:
    return [dict(message) for message in messages]


def _invalid(path: str, why: str) -> BackpropError:
    message = f"The chat template of {path} cannot be used in Ollama: {why}."
    return BackpropError(Problem("INPUT_CHAT_TEMPLATE_INVALID", message, where=path, hint=_HINT))
