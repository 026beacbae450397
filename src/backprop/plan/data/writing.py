"""How a row becomes the text that the model reads: through the chat template, or as it stands."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.data.check import Check
from backprop.plan.data.conversation import Conversation, Pair, RowError, Supervised
from backprop.plan.data.layout import Layout
from backprop.plan.data.templates import alpaca_prompt
from backprop.plan.data.turns import Placed, Render, Span, TurnEnds, place_turns


class Rendering(enum.Enum):
    """The ways in which rows are written."""

    CHAT_TEMPLATE = "chat template"
    PAIR = "prompt + completion"
    RAW = "raw text"


TEMPLATE_ONLY = frozenset({Layout.OPENAI, Layout.SHAREGPT, Layout.CHATML})
"""Layouts whose rows are conversations and nothing else."""


@attrs.frozen
class Written:
    """A row as text, with its learned characters."""

    placed: Placed
    rendering: Rendering

    @property
    def is_plain(self) -> bool:
        """The text is no template's: the tokenizer's own first token goes before it, its eos token after it."""
        return self.rendering is not Rendering.CHAT_TEMPLATE


def rendering_of(layout: Layout, *, has_template: bool) -> Rendering:
    """How rows of a layout are written."""
    if layout is Layout.RAW:
        return Rendering.RAW
    return Rendering.CHAT_TEMPLATE if has_template else Rendering.PAIR


def write_example(example: Supervised, render: Render | None, ends: TurnEnds) -> Written:
    """The example as text. ``render`` is None for a model without a chat template.

    Raises :class:`RowError` when the template refuses the row, or when the row needs a template and there is none.
    """
    if isinstance(example, Conversation):
        return _write_conversation(example, render, ends)
    if isinstance(example, Pair):
        return _write_pair(example, render, ends)
    return _plain(example.text, (0, len(example.text)), example.text, Rendering.RAW)


def _write_conversation(conversation: Conversation, render: Render | None, ends: TurnEnds) -> Written:
    if render is not None:
        return Written(place_turns(conversation, render, ends), Rendering.CHAT_TEMPLATE)
    *asked, answered = conversation.messages
    if answered["role"] != "assistant" or any(message["role"] == "assistant" for message in asked):
        raise RowError("a conversation needs a chat template, and the model has none", Check.TEMPLATE_REFUSES)
    return _write_pair(Pair(alpaca_prompt(tuple(asked)), answered["content"]), None, ends)


def _write_pair(pair: Pair, render: Render | None, ends: TurnEnds) -> Written:
    if render is not None:
        messages = ({"role": "user", "content": pair.prompt}, {"role": "assistant", "content": pair.completion})
        return _write_conversation(Conversation(messages, (False, True)), render, ends)
    text = pair.prompt + pair.completion
    return _plain(text, (len(pair.prompt), len(text)), pair.completion, Rendering.PAIR)


def _plain(text: str, span: Span, target: str, rendering: Rendering) -> Written:
    has_target = bool(target.strip())
    return Written(Placed(text, (span,) if has_target else (), (target,) if has_target else ()), rendering)
