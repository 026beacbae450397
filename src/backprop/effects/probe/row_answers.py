"""The answers of a row as tokens: the one that is learned, the two of a pair, or one with its rating.

An answer that is judged is never cut, since the beginning of it is not what was judged: a row that is longer than the
sequence length is left out, a pair with both of its answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from backprop.effects.probe.row_tokens import RowTokenizer, TokenizedRow
from backprop.plan.data.answers import align_prompts, answers_of
from backprop.plan.data.check import Check
from backprop.plan.data.conversation import Example, Rated, RowError
from backprop.plan.data.counts import CountedRow
from backprop.plan.data.writing import Written


@attrs.frozen
class WrittenRow:
    """A row as text."""

    where: str
    answers: tuple[Written, ...]
    rating: bool | None = None
    """None where answers are not rated."""

    @property
    def named(self) -> tuple[tuple[str, Written], ...]:
        """Each answer with the place to name it by."""
        if len(self.answers) == 1:
            return ((self.where, self.answers[0]),)
        return tuple(zip((f"{self.where} chosen", f"{self.where} rejected"), self.answers, strict=True))


@attrs.frozen
class StoredAnswer:
    """Tokens of an answer with its prompt, one mask byte a token, and whether it is a good answer."""

    ids: Sequence[int]
    mask: bytes
    is_good: bool


@attrs.frozen
class AnsweredRow:
    """A row as it is trained on, and what it adds to the sums."""

    answers: tuple[StoredAnswer, ...]
    counted: CountedRow
    ends: tuple[str, ...]
    rating: bool | None = None


def write_row(where: str, example: Example, tokens: RowTokenizer) -> WrittenRow:
    """The row as text. Raises ``RowError`` when it cannot be written, or when its answers cannot be compared."""
    answers = tuple(tokens.write(answer) for answer in answers_of(example))
    if len(answers) == 2:
        _check_pair(*answers)
    return WrittenRow(where, answers, example.label if isinstance(example, Rated) else None)


def _check_pair(chosen: Written, rejected: Written) -> None:
    if chosen.placed.text == rejected.placed.text:
        raise RowError("both answers are equal", Check.EQUAL_PAIR, key="rejected")
    placed = [written.placed for written in (chosen, rejected) if written.placed.spans]
    prompts = {one.text[: one.spans[0][0]] for one in placed}
    if len(prompts) == 2:
        raise RowError("the two answers do not follow the same prompt", Check.EQUAL_PAIR, key="rejected")


def tokenize_rows(rows: Sequence[WrittenRow], tokens: RowTokenizer) -> Iterator[AnsweredRow]:
    """Each row as tokens, all answers in one batch."""
    found = iter(tokens.tokenize([named for row in rows for named in row.named]))
    for row in rows:
        answers = [next(found) for _ in row.answers]
        if len(answers) == 2:
            yield _pair(row, *answers)
        else:
            yield _single(row, answers[0])


def _single(row: WrittenRow, answer: TokenizedRow) -> AnsweredRow:
    counted = answer.counted
    if row.rating is not None:
        counted = attrs.evolve(counted, is_left_out=counted.uncut_length > counted.length)
    stored = StoredAnswer(answer.ids, answer.mask, is_good=row.rating is not False)
    return AnsweredRow((stored,), counted, answer.ends, row.rating)


def _pair(row: WrittenRow, chosen: TokenizedRow, rejected: TokenizedRow) -> AnsweredRow:
    better, worse = chosen.counted, rejected.counted
    learns_both = better.supervised > 0 and worse.supervised > 0
    masks = _aligned(chosen, rejected) if learns_both else (chosen.mask, rejected.mask)
    counted = CountedRow(
        where=row.where,
        excerpt=better.excerpt,
        uncut_length=max(better.uncut_length, worse.uncut_length),
        length=max(better.length, worse.length),
        supervised=sum(map(sum, masks)) if learns_both else 0,
        tokens=better.length + worse.length,
        is_left_out=max(better.uncut_length, worse.uncut_length) > max(better.length, worse.length),
        is_fully_supervised=better.is_fully_supervised or worse.is_fully_supervised,
        lost=better.lost or worse.lost,
        unplaced=better.unplaced or worse.unplaced,
        unended=better.unended or worse.unended,
    )
    stored = (
        StoredAnswer(chosen.ids, masks[0], is_good=True),
        StoredAnswer(rejected.ids, masks[1], is_good=False),
    )
    return AnsweredRow(stored, counted, (*chosen.ends, *rejected.ends))


def _aligned(chosen: TokenizedRow, rejected: TokenizedRow) -> tuple[bytes, bytes]:
    """The masks with the tokens learned in which the two prompts differ; the first token of a row never is."""
    starts = chosen.mask.index(1), rejected.mask.index(1)
    shared = max(1, align_prompts(chosen.ids, rejected.ids, starts=starts))
    first, second = (
        mask[:shared] + b"\1" * (start - shared) + mask[start:]
        for mask, start in zip((chosen.mask, rejected.mask), starts, strict=True)
    )
    return first, second
