"""What the report counts, row by row. Tallies of neighbouring blocks add up to that of both, wherever each was made.

Memory does not grow with the rows: lengths are counted, and of what is worst only the first few places are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

import attrs

from backprop.plan.data.check import Check, Finding
from backprop.plan.data.conversation import Example, Rated
from backprop.plan.data.judge import recognisable
from backprop.plan.data.layout import Layout
from backprop.plan.data.pii import PiiKind, find_pii
from backprop.plan.data.scripts import Script
from backprop.plan.decision import Severity

K = TypeVar("K")

MOST_PLACES = 5
"""Places that are kept of each sort of thing."""
MOST_TEXTS = 16
LONGEST_TEXT = 10_000
WITHHELD = "(not shown: the row holds personal data or secrets)"

_NO_TEXT = frozenset({Check.EMPTY_ROW, Check.EMPTY_ASSISTANT, Check.EMPTY_USER})


@attrs.frozen
class Place:
    """A row worth looking at."""

    where: str
    """``file:line``, with the row's number where a line may hold several."""
    excerpt: str = ""
    detail: str = ""
    """What of it, such as its length."""


@attrs.frozen(order=True)
class Sized:
    """A row by its length; of equal lengths the earlier one in the file comes first."""

    length: int
    order: tuple[int, int, int]
    """(file, line, number in a line that may hold several), to tell equal lengths apart."""
    where: str = attrs.field(eq=False)
    excerpt: str | None = attrs.field(eq=False)
    """None for a row that is not to be quoted."""


@attrs.frozen
class MeasuredRow:
    """What one row adds."""

    where: str
    order: tuple[int, int, int]
    findings: tuple[Finding, ...] = ()
    layout: Layout | None = None
    """None for a row that is in no known layout."""
    pii: Mapping[PiiKind, int] = attrs.field(factory=dict)
    """Finds by kind, in the row as it could be read."""
    is_withheld: bool = False
    """Something in the row is personal data or a secret, so that nothing of it is quoted."""
    example: Example | None = None
    """The normal form; without one the row's length, turns and script are not known."""
    compared: str = ""
    """The text by which it is told whether the row stands twice."""
    tokens: int = 0
    turns: int = 0
    traces: tuple[int, ...] = ()
    """Tokens of each piece of reasoning."""
    script: Script = Script.NONE


@attrs.define
class QualityTally:
    """Counts over some neighbouring rows; ``a.extend(b)`` counts those that follow, too."""

    rows: int = 0
    parsed: int = 0
    error_rows: int = 0
    empty_rows: int = 0
    """With a blank turn, or without any text."""
    no_assistant_rows: int = 0
    nothing_rows: int = 0
    """Either of the two."""
    think_rows: int = 0
    pii_rows: int = 0
    layouts: Counter[Layout | None] = attrs.field(factory=Counter)
    checks: Counter[Check] = attrs.field(factory=Counter)
    """Rows by the checks that they fail."""
    tokens: Counter[int] = attrs.field(factory=Counter)
    """Parsed rows by length in tokens."""
    traces: Counter[int] = attrs.field(factory=Counter)
    """Pieces of reasoning by length in tokens."""
    turns: Counter[int] = attrs.field(factory=Counter)
    labels: Counter[bool] = attrs.field(factory=Counter)
    """Rated answers by what they are rated."""
    scripts: Counter[Script] = attrs.field(factory=Counter)
    pii: Counter[PiiKind] = attrs.field(factory=Counter)
    """Finds by kind."""
    pii_rows_by_kind: Counter[PiiKind] = attrs.field(factory=Counter)
    check_places: dict[Check, list[Place]] = attrs.field(factory=dict)
    pii_places: dict[PiiKind, list[Place]] = attrs.field(factory=dict)
    longest: list[Sized] = attrs.field(factory=list)
    shortest: list[Sized] = attrs.field(factory=list)
    texts: list[str] = attrs.field(factory=list)
    """Compared texts of the first rows without personal data, to show what they have in common."""

    def add(self, row: MeasuredRow) -> None:
        """Count the next row."""
        self.rows += 1
        self.layouts[row.layout] += 1
        if row.findings:
            self._add_findings(row)
        if row.pii:
            self._add_pii(row)
        if row.example is None:
            return
        self.parsed += 1
        self.tokens[row.tokens] += 1
        self.turns[row.turns] += 1
        self.scripts[row.script] += 1
        if isinstance(row.example, Rated):
            self.labels[row.example.label] += 1
        if row.traces:
            self.think_rows += 1
            self.traces.update(row.traces)
        self._add_length(row, row.example)
        if not (row.pii or row.is_withheld) and len(self.texts) < MOST_TEXTS:
            self.texts.append(row.compared[:LONGEST_TEXT])

    def extend(self, other: QualityTally) -> None:
        """Count the rows that follow."""
        for field in attrs.fields(QualityTally):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if isinstance(mine, (int, Counter)):
                mine += theirs
                setattr(self, field.name, mine)
        _extend_places(self.check_places, other.check_places)
        _extend_places(self.pii_places, other.pii_places)
        self.longest = sorted((*self.longest, *other.longest), key=_longest_first)[:MOST_PLACES]
        self.shortest = sorted((*self.shortest, *other.shortest))[:MOST_PLACES]
        self.texts = [*self.texts, *other.texts][:MOST_TEXTS]

    def _add_findings(self, row: MeasuredRow) -> None:
        failed: dict[Check, Finding] = {}
        for finding in row.findings:
            failed.setdefault(finding.check, finding)
        self.checks.update(list(failed))
        self.error_rows += any(finding.severity is Severity.ERROR for finding in row.findings)
        is_empty, is_unanswered = not _NO_TEXT.isdisjoint(failed), Check.NO_ASSISTANT in failed
        self.empty_rows += is_empty
        self.no_assistant_rows += is_unanswered
        self.nothing_rows += is_empty or is_unanswered
        for check, finding in failed.items():
            places = self.check_places.setdefault(check, [])
            if len(places) < MOST_PLACES:
                places.append(_place(row, finding))

    def _add_pii(self, row: MeasuredRow) -> None:
        self.pii_rows += 1
        for kind, count in row.pii.items():
            self.pii[kind] += count
            self.pii_rows_by_kind[kind] += 1
            _keep(self.pii_places.setdefault(kind, []), (Place(row.where),))

    def _add_length(self, row: MeasuredRow, example: Example) -> None:
        if not row.tokens:
            return
        is_long = len(self.longest) < MOST_PLACES or row.tokens > self.longest[-1].length
        is_short = len(self.shortest) < MOST_PLACES or row.tokens < self.shortest[-1].length
        if is_long or is_short:
            sized = Sized(row.tokens, row.order, row.where, _quoted(row, recognisable(example)))
            if is_long:
                self.longest = sorted((*self.longest, sized), key=_longest_first)[:MOST_PLACES]
            if is_short:
                self.shortest = sorted((*self.shortest, sized))[:MOST_PLACES]


def _place(row: MeasuredRow, finding: Finding) -> Place:
    """Where a finding stands; its message quotes the row as its excerpt does."""
    shown = _quoted(row, f"{finding.excerpt}\n{finding.message}")
    return Place(row.where, "", WITHHELD) if shown is None else Place(row.where, finding.excerpt, finding.message)


def _quoted(row: MeasuredRow, shown: str) -> str | None:
    """What is shown of a row; None when it is not to be shown. An excerpt puts together what lines keep apart."""
    return None if row.pii or row.is_withheld or find_pii(shown) else shown


def _longest_first(sized: Sized) -> tuple[int, tuple[int, int, int]]:
    return -sized.length, sized.order


def _keep(places: list[Place], more: Iterable[Place]) -> None:
    places.extend(more)
    del places[MOST_PLACES:]


def _extend_places(mine: dict[K, list[Place]], theirs: Mapping[K, list[Place]]) -> None:
    for key, places in theirs.items():
        _keep(mine.setdefault(key, []), places)
