"""What was found so far in the rows of a data set: counts, and the first findings in the order of the file.

Tallies of neighbouring blocks add up to that of both, wherever each was made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

from backprop.plan.data.check import CHECKS, Check, Finding, make_finding
from backprop.plan.data.layout import Layout
from backprop.plan.decision import Severity


@attrs.frozen
class Limits:
    """Where judging stops."""

    max_errors: int
    """After the row with this many errors."""
    max_rows: int | None = None
    max_warnings: int = attrs.Factory(lambda self: self.max_errors, takes_self=True)
    """So many are listed, and all of them counted; as many as errors when not given."""


@attrs.define
class Tally:
    """Counts and findings of some neighbouring rows."""

    limits: Limits
    num_rows: int = 0
    num_error_rows: int = 0
    counts: Counter[Check] = attrs.field(factory=Counter)
    errors: list[Finding] = attrs.field(factory=list)
    warnings: list[Finding] = attrs.field(factory=list)
    layouts: Counter[Layout] = attrs.field(factory=Counter)
    """Rows by layout, where it is not that of the data set."""
    labels: Counter[bool] = attrs.field(factory=Counter)
    leaves_rows: bool = False
    """Rows follow that a limit kept from being judged."""

    @property
    def has_all_errors(self) -> bool:
        """As many errors as were asked for."""
        return len(self.errors) >= self.limits.max_errors

    @property
    def is_full(self) -> bool:
        """No further row is to be judged."""
        return self.has_all_errors or self.num_rows == self.limits.max_rows

    @property
    def is_stopped(self) -> bool:
        """Errors kept rows that were asked for from being judged."""
        return self.has_all_errors and self.leaves_rows and self.num_rows != self.limits.max_rows

    @property
    def left(self) -> Limits:
        """The limits of the rows that follow."""
        given = self.limits
        return Limits(
            max_errors=given.max_errors - len(self.errors),
            max_rows=None if given.max_rows is None else given.max_rows - self.num_rows,
            max_warnings=given.max_warnings - len(self.warnings),
        )

    def add_fine(self, label: bool | None = None) -> None:
        """Count a row in which nothing was found; ``label`` is that of a rated answer."""
        self.num_rows += 1
        if label is not None:
            self.labels[label] += 1

    def add(self, findings: Iterable[Finding], *, label: bool | None = None, layout: Layout | None = None) -> None:
        """Count a row with what was found in it; ``layout`` where it is not that of the data set."""
        self.add_fine(label)
        if layout is not None:
            self.layouts[layout] += 1
        has_error = False
        for finding in findings:
            self.counts[finding.check] += 1
            is_error = finding.severity is Severity.ERROR
            has_error = has_error or is_error
            if is_error:
                listed, most = self.errors, self.limits.max_errors
            else:
                listed, most = self.warnings, self.limits.max_warnings
            if len(listed) < most:
                listed.append(finding)
        self.num_error_rows += has_error

    def has_room_for(self, other: Tally) -> bool:
        """All rows of ``other`` may follow, and more after them."""
        left = self.left
        rows_fit = left.max_rows is None or other.num_rows <= left.max_rows
        return rows_fit and len(other.errors) < left.max_errors

    def extend(self, other: Tally) -> None:
        """Add the rows that follow."""
        self.num_rows += other.num_rows
        self.num_error_rows += other.num_error_rows
        self.counts += other.counts
        self.layouts += other.layouts
        self.labels += other.labels
        self.leaves_rows = self.leaves_rows or other.leaves_rows
        self.errors += other.errors
        self.warnings += other.warnings[: self.left.max_warnings]


def file_findings(tally: Tally, layout: Layout | None, *, name: str) -> tuple[Finding, ...]:
    """What is wrong with the rows taken together."""
    found: list[Finding] = []
    if len(tally.labels) == 1:
        (label,) = tally.labels
        message = f"all {tally.labels[label]:,} labels are {str(label).lower()}"
        found.append(make_finding(Check.ONE_SIDED_LABELS, message, where=name, key="label"))
    others = ", ".join(f"{rows:,} as {other.value}" for other, rows in sorted(tally.layouts.items(), key=_most_first))
    if others and layout is not None:
        message = f"most rows are laid out as {layout.value}, but {others}"
        found.append(make_finding(Check.MIXED_LAYOUTS, message, where=name))
    return tuple(found)


def _most_first(item: tuple[Layout, int]) -> tuple[int, str]:
    return -item[1], item[0].value


def has_error(findings: Iterable[Finding]) -> bool:
    """One of the findings is an error."""
    return any(finding.severity is Severity.ERROR for finding in findings)


def is_error(check: Check) -> bool:
    """The check fails a row or a data set; else it is worth a warning."""
    return CHECKS[check].severity is Severity.ERROR
