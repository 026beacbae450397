"""The sums over a data set's tokenized rows, added up row by row in constant memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import attrs

from backprop.plan.facts.dataset import RowCount, TokenFacts


@attrs.frozen
class CountedRow:
    """What one row adds to the sums."""

    where: str
    """``file:line``."""
    excerpt: str
    uncut_length: int
    length: int
    """Tokens after cutting at the sequence length."""
    supervised: int
    """Tokens after cutting that the loss is taken over."""
    tokens: int = attrs.field(default=attrs.Factory(lambda self: self.length, takes_self=True), kw_only=True)
    """Tokens that go through the model: of a pair those of both answers."""
    is_left_out: bool = False
    """An answer that is judged was too long: cut it would be another answer, so the row is left out."""
    is_fully_supervised: bool = False
    lost: bool = False
    unplaced: bool = False
    unended: bool = False

    @property
    def is_trained(self) -> bool:
        """Rows without a token to learn are left out."""
        return self.supervised > 0 and not self.is_left_out


class TokenCounter:
    """Adds rows up; :meth:`facts` may be read at any time."""

    def __init__(self) -> None:
        self._tokens = self._supervised = 0
        self._lengths: Counter[int] = Counter()
        self._uncut: Counter[int] = Counter()
        self._counts: dict[str, RowCount] = {name: RowCount(0) for name in _COUNTED}
        self._ends: dict[str, None] = {}

    def add(self, row: CountedRow, *, ends: tuple[str, ...] = ()) -> None:
        """Count one row; ``ends`` are the tokens that end its turns."""
        self._uncut[row.uncut_length] += 1
        self._ends |= dict.fromkeys(ends)
        if row.is_trained:
            self._lengths[row.length] += 1
            self._tokens += row.tokens
            self._supervised += row.supervised
        for name, applies in _COUNTED.items():
            if applies(row):
                count = self._counts[name]
                example = count.example or f"{row.where}: {row.excerpt}"
                self._counts[name] = RowCount(count.rows + 1, example)

    def facts(self) -> TokenFacts:
        """The sums so far."""
        return TokenFacts(
            tokens=self._tokens,
            supervised_tokens=self._supervised,
            length_counts=tuple(sorted(self._lengths.items())),
            longest_uncut=max(self._uncut, default=0),
            uncut_p50=quantile(self._uncut, 0.50),
            uncut_p90=quantile(self._uncut, 0.90),
            uncut_p99=quantile(self._uncut, 0.99),
            end_tokens=tuple(self._ends),
            **self._counts,
        )


_COUNTED: Mapping[str, Callable[[CountedRow], bool]] = {
    "truncated": lambda row: row.uncut_length > row.length,
    "without_target": lambda row: not row.supervised and not row.is_left_out,
    "fully_supervised": lambda row: row.is_fully_supervised,
    "lost_targets": lambda row: row.lost,
    "unplaced_targets": lambda row: row.unplaced,
    "unended_targets": lambda row: row.unended,
}
"""The counts of rows in :class:`TokenFacts`, by their names there."""


def quantile(counts: Mapping[int, int], share: float) -> int:
    """The least value that at least ``share`` of what is counted does not exceed; 0 when nothing is counted."""
    total, seen = sum(counts.values()), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= share * total:
            return value
    return 0
