"""Chat templates: the sandboxed Jinja environment that models write theirs for, and one template at work in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from backprop.plan.data.check import Check
from backprop.plan.data.conversation import Message, RowError, reasoning_of


class _GenerationTag(Extension):
    """``{% generation %}…{% endgeneration %}`` marks what a model writes; here its body is rendered as it is."""

    tags = {"generation"}  # noqa: RUF012 (the base class declares it so)

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without HTML escapes, which Jinja's own filter adds."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _dict(*args: Any, **values: Any) -> dict[Any, Any]:
    """A new dict; the class itself would hand a template methods that change what it was given."""
    return dict(*args, **values)


class _Namespace(Namespace):
    """``namespace()`` without names that reach into Python's own machinery."""

    def __init__(*args: Any, **values: Any) -> None:
        self, *given = args
        attributes = dict(*given, **values)
        for name in attributes:
            _refuse_underscore(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_underscore(name)
        super().__setitem__(name, value)


def _refuse_underscore(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace cannot hold {name!r}")


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    environment.globals["dict"] = _dict
    environment.globals["namespace"] = _Namespace
    return environment


class ChatTemplate:
    """One template, compiled. Raises ``jinja2.TemplateSyntaxError`` when it cannot be."""

    def __init__(self, source: str, *, special_tokens: Mapping[str, str], with_tools: str | None = None) -> None:
        """``special_tokens`` are ``bos_token`` and the like; ``with_tools`` is the template for rows with tools."""
        environment = _environment()
        self.source = source
        self._plain = environment.from_string(source)
        self._with_tools = environment.from_string(with_tools) if with_tools else self._plain
        self._special_tokens = special_tokens

    def render(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = False,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """The messages as text. Raises :class:`RowError` with the template's own words when it refuses them."""
        template = self._with_tools if tools else self._plain
        try:
            return template.render(
                messages=[_aliased(message) for message in messages],
                tools=list(tools) or None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._special_tokens,
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as refusal:
            # The template is a foreign program: whatever it raises concerns the messages it was given.
            message = f"the chat template refuses this row: {refusal}"
            raise RowError(message, Check.TEMPLATE_REFUSES) from refusal


def _aliased(message: Message) -> dict[str, Any]:
    """The message with its reasoning under both names that templates read."""
    kept = {key: value for key, value in message.items() if value is not None}
    reasoning = reasoning_of(message)
    return {"thinking": reasoning, **kept, "reasoning_content": reasoning} if reasoning else kept
