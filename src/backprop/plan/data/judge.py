"""One row judged: read by its layout, checked, and each fault placed at its line and key."""

from __future__ import annotations

import json
from typing import Any

import attrs

from backprop.plan.data.check import Check, Finding, make_finding
from backprop.plan.data.checks import check_example
from backprop.plan.data.conversation import Conversation, Example, Pair, Passage, Preference, Rated, RowError
from backprop.plan.data.excerpt import excerpt
from backprop.plan.data.keys import key_of
from backprop.plan.data.layout import Layout, describe_keys, layout_of, other_layout
from backprop.plan.data.rows import read_row


@attrs.frozen
class Judged:
    """What is to be said of a row."""

    findings: tuple[Finding, ...] = ()
    example: Example | None = None
    """The normal form of a row that could be read."""
    layout: Layout | None = None
    """The layout that the row is in, where it is not that of the data set."""


@attrs.frozen
class RowJudge:
    """Judges the rows of a data set; ``layout`` is None when its first rows are in no layout that is known."""

    layout: Layout | None
    is_told: bool
    """The layout was told from the first rows, so that a row of another one is a mistake."""
    text_column: str

    def judge(self, value: Any, *, where: str, line: int) -> Judged:
        """What is wrong with a row."""
        if self.layout is None:
            return self._without_layout(value, where, line)
        other = other_layout(value, self.layout, text_column=self.text_column) if self.is_told else None
        if other is not None:
            message = other_layout_text(other, self.layout)
            finding = make_finding(Check.LAYOUT, message, where=where, line=line, excerpt=_shown(value))
            return Judged((finding,), None, other)
        try:
            example = read_row(value, self.layout, text_column=self.text_column)
        except RowError as wrong:
            return Judged((place_error(wrong, where=where, line=line, excerpt=_shown(value)),))
        findings = tuple(
            make_finding(
                fault.check,
                fault.message,
                where=where,
                line=line,
                key=key_of(fault, example, value, self.layout, text_column=self.text_column),
                excerpt=fault.excerpt or recognisable(example),
            )
            for fault in check_example(example)
        )
        return Judged(findings, example)

    def _without_layout(self, value: Any, where: str, line: int) -> Judged:
        message = f"the row is in no layout that is known: it has {describe_keys(value)}"
        finding = make_finding(Check.LAYOUT, message, where=where, line=line, excerpt=_shown(value))
        return Judged((finding,), None, layout_of(value, text_column=self.text_column))


def place_error(wrong: RowError, *, where: str, line: int, excerpt: str) -> Finding:
    """Why a row cannot be used, as a finding."""
    return make_finding(wrong.check, str(wrong), where=where, line=line, key=wrong.key, excerpt=excerpt)


def other_layout_text(found: Layout, layout: Layout) -> str:
    """What is wrong with a row in another layout."""
    return f"the row is laid out as {found.value}, the first rows of the file as {layout.value}"


def recognisable(example: Example) -> str:
    """The beginning of an example's first text, by which its writer knows it again."""
    if isinstance(example, Preference):
        return recognisable(example.chosen)
    if isinstance(example, Rated):
        return recognisable(example.example)
    if isinstance(example, Passage):
        return excerpt(example.text)
    if isinstance(example, Pair):
        return excerpt(example.prompt) or excerpt(example.completion)
    assert isinstance(example, Conversation)
    spoken = sorted(example.messages, key=lambda message: message["role"] != "user")
    return next((excerpt(text) for message in spoken if (text := message.get("content", "")).strip()), "")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return excerpt(value)
    return excerpt(json.dumps(value, ensure_ascii=False, default=str)[:400])
