"""Rows counted in the tokens of a model, to find those longer than its context."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import attrs

from backprop.effects.files.rows import RawRow
from backprop.effects.probe.row_tokens import RowTokenizer
from backprop.effects.probe.tokenizer import ChatTokenizer, observe_tokenizer
from backprop.plan.data.check import Check, Finding, make_finding
from backprop.plan.data.conversation import Example, Preference, Rated, RowError, Supervised
from backprop.plan.data.judge import place_error, recognisable
from backprop.plan.data.writing import Written
from backprop.plan.errors import BackpropError
from backprop.plan.facts.absent import Absent


@attrs.frozen
class LengthCheck:
    """A model's tokenizer, by its directory, and the longest sequence in tokens."""

    directory: str
    chat_template: str | None
    max_seq_length: int


def length_findings(rows: Sequence[tuple[RawRow, Example | None]], check: LengthCheck) -> list[tuple[Finding, ...]]:
    """Of each row what is wrong with its length; nothing for one without an example.

    A row is as long as training makes it: written with the chat template, of two answers the longer. Raises
    ``BackpropError`` when the tokenizer cannot be read.
    """
    tokens = RowTokenizer(_tokenizer(check), check.max_seq_length, False)
    found: list[tuple[Finding, ...]] = [()] * len(rows)
    texts: list[Written] = []
    owners: list[int] = []
    for index, (row, example) in enumerate(rows):
        try:
            written = [tokens.write(part) for part in _parts(example)]
        except RowError as wrong:
            shown = "" if example is None else recognisable(example)
            found[index] = (place_error(wrong, where=row.where, line=row.line, excerpt=shown),)
            continue
        texts += written
        owners += [index] * len(written)
    longest: dict[int, int] = {}
    for index, length in zip(owners, tokens.lengths(texts), strict=True):
        longest[index] = max(length, longest.get(index, 0))
    for index, length in longest.items():
        if length > check.max_seq_length:
            found[index] = (_too_long(*rows[index], length, check.max_seq_length),)
    return found


def _parts(example: Example | None) -> tuple[Supervised, ...]:
    if example is None:
        return ()
    if isinstance(example, Preference):
        return (example.chosen, example.rejected)
    return (example.example if isinstance(example, Rated) else example,)


def _too_long(row: RawRow, example: Example | None, length: int, limit: int) -> Finding:
    assert example is not None, "only an example has a length"
    message = f"the row is {length:,} tokens long, and {limit:,} fit"
    return make_finding(Check.TOO_LONG, message, where=row.where, line=row.line, excerpt=recognisable(example))


@cache
def _tokenizer(check: LengthCheck) -> ChatTokenizer:
    found = observe_tokenizer(check.directory, chat_template=check.chat_template)
    if isinstance(found, Absent):
        raise BackpropError(found.problem)
    return found
