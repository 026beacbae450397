"""Rows measured for the report, many at once: judged, searched for personal data, counted in tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache

import attrs

from backprop.effects.files.rows import RawRow
from backprop.effects.probe.row_tokens import RowTokenizer
from backprop.effects.probe.tokenizer import ChatTokenizer, observe_tokenizer
from backprop.effects.probe.validation import judge_raw
from backprop.plan.data.check import Finding
from backprop.plan.data.compared import compared_text
from backprop.plan.data.conversation import Example, RowError
from backprop.plan.data.judge import RowJudge, place_error, recognisable
from backprop.plan.data.layout import Layout
from backprop.plan.data.measure import (
    ESTIMATE,
    estimated_tokens,
    num_turns,
    strings_in,
    supervised_parts,
    traces_of,
    whole_text,
)
from backprop.plan.data.pii import count_pii, find_pii
from backprop.plan.data.quality_tally import MeasuredRow
from backprop.plan.data.scripts import main_script
from backprop.plan.data.writing import Written
from backprop.plan.errors import BackpropError
from backprop.plan.facts.absent import Absent

_NO_CUT = 1 << 40


@attrs.frozen
class Tokens:
    """A model's tokenizer, by its directory."""

    model: str
    """As it was given."""
    directory: str
    chat_template: str | None


@attrs.frozen
class RowMeter:
    """Measures rows; with a tokenizer their length is the one that training gives them, else an estimate."""

    tokens: Tokens | None = None

    @property
    def token_source(self) -> str:
        """What counts the tokens."""
        return ESTIMATE if self.tokens is None else f"tokenizer of {self.tokens.model}"

    def measure(self, rows: Sequence[RawRow], judge: RowJudge, *, file: int) -> list[MeasuredRow]:
        """Each row with what the report counts of it; ``file`` is the number of the file among those of the data set.

        Raises ``BackpropError`` when the tokenizer cannot be read.
        """
        read = [_read(row, judge) for row in rows]
        counts = self._estimated(read) if self.tokens is None else self._counted(read, self.tokens)
        return [_measured(one, file, count) for one, count in zip(read, counts, strict=True)]

    def _estimated(self, rows: Sequence[_Read]) -> list[_Counts]:
        return [_Counts(estimated_tokens(row.text), tuple(map(estimated_tokens, row.traces))) for row in rows]

    def _counted(self, rows: Sequence[_Read], tokens: Tokens) -> list[_Counts]:
        tokenizer = _tokenizer(tokens)
        writer = RowTokenizer(tokenizer, _NO_CUT, train_on_prompt=False)
        written = [_written(row, writer) for row in rows]
        lengths = iter(writer.lengths([text for texts, _ in written for text in texts]))
        traces = iter(tokenizer.encode_batch([trace for row in rows for trace in row.traces]))
        return [
            _Counts(
                # Two answers to a prompt are two sequences; a row that the template refuses has its bare text.
                max((next(lengths) for _ in texts), default=0) or (len(tokenizer.encode(row.text).ids)),
                tuple(len(next(traces).ids) for _ in row.traces),
                refused,
            )
            for row, (texts, refused) in zip(rows, written, strict=True)
        ]


def example_of(raw: RawRow, judge: RowJudge) -> Example | None:
    """The normal form of a row, in whatever layout it is; None when there is none."""
    return _read(raw, judge).example


@attrs.frozen
class _Read:
    """A row that was judged, its text, and the reasoning in it."""

    raw: RawRow
    findings: tuple[Finding, ...]
    example: Example | None
    layout: Layout | None
    text: str
    traces: tuple[str, ...] = ()


@attrs.frozen
class _Counts:
    tokens: int
    traces: tuple[int, ...]
    refused: tuple[Finding, ...] = ()
    """Why the model's chat template does not take the row."""


def _read(raw: RawRow, judge: RowJudge) -> _Read:
    judged = judge_raw(raw, judge)
    findings, example, layout = judged.findings, judged.example, judge.layout
    if judged.layout is not None:
        # A row of another layout than the file's is an error, but what it says can be measured, and may be empty.
        layout = judged.layout
        other = RowJudge(layout, False, judge.text_column).judge(raw.value, where=raw.where, line=raw.line)
        findings, example = (*findings, *other.findings), other.example
    if example is None:
        return _Read(raw, findings, None, None if raw.problem else layout, _bare_text(raw))
    text = whole_text(example)
    return _Read(raw, findings, example, layout, text, traces_of(example, text))


def _bare_text(raw: RawRow) -> str:
    """What there is of a row that could not be read, so that nothing of it is shown that should not be."""
    if raw.raw is not None:
        return raw.raw.decode("utf-8", "replace")
    return "" if raw.value is None else json.dumps(raw.value, ensure_ascii=False, default=str)


def _written(row: _Read, writer: RowTokenizer) -> tuple[list[Written], tuple[Finding, ...]]:
    if row.example is None:
        return [], ()
    try:
        return [writer.write(part) for part in supervised_parts(row.example)], ()
    except RowError as wrong:
        shown = recognisable(row.example)
        return [], (place_error(wrong, where=row.raw.where, line=row.raw.line, excerpt=shown),)


def _measured(row: _Read, file: int, counts: _Counts) -> MeasuredRow:
    findings, pii = (*row.findings, *counts.refused), count_pii(row.text)
    measured = MeasuredRow(
        where=row.raw.where,
        order=(file, row.raw.line, row.raw.row or 0),
        findings=findings,
        layout=row.layout,
        pii=pii,
        # A finding may quote what is no text of the example: keys, names, fields that nobody reads.
        is_withheld=bool(pii) or (bool(findings) and _holds_pii(row.raw)),
    )
    if row.example is None:
        return measured
    return attrs.evolve(
        measured,
        example=row.example,
        compared=compared_text(row.example),
        tokens=counts.tokens,
        turns=num_turns(row.example),
        traces=counts.traces,
        script=main_script(row.text),
    )


def _holds_pii(raw: RawRow) -> bool:
    """Anything in the row is personal data or a secret: as it is written, or in a text or key that is written apart."""
    return any(find_pii(text) for text in (_bare_text(raw), *strings_in(raw.value)))


@cache
def _tokenizer(tokens: Tokens) -> ChatTokenizer:
    found = observe_tokenizer(tokens.directory, chat_template=tokens.chat_template)
    if isinstance(found, Absent):
        raise BackpropError(found.problem)
    return found
