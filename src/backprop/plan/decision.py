"""The three small values that every judgement is made of: a decision, a problem, a refusal."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Generic, TypeVar

import attrs

T = TypeVar("T")


@attrs.frozen
class Decision(Generic[T]):
    """A value that a planner derived, with the rule that set it and one sentence why."""

    value: T
    rule: str
    """Short and stable, such as ``preset quality`` or ``set by --lr``; a test may compare it."""
    why: str
    """One sentence for the person who reads the plan."""


class Severity(enum.Enum):
    """Whether a problem stops the work."""

    ERROR = "error"
    WARNING = "warning"


@attrs.frozen
class Remedy:
    """Flags that make a run fit, and what it takes with them."""

    flags: str
    needed_bytes: int


@attrs.frozen
class Shortage:
    """What a run that does not fit needs, what there is, and what would help: the numbers of a refusal."""

    needed_bytes: int
    """Of the card, or of the machine's memory on the CPU."""
    free_bytes: int
    host_needed_bytes: int
    host_free_bytes: int | None
    """Of the machine's memory beside a card; None when unknown, and without one."""
    remedies: tuple[Remedy, ...]


@attrs.frozen
class Problem:
    """One thing that is wrong: its catalogue code, the value and place it concerns, and the next step."""

    code: str
    """A key of :data:`backprop.plan.errors.CATALOGUE`."""
    message: str
    """What happened, to which value."""
    where: str = ""
    """The place: a flag, a variable, ``file:line``; empty when the message says it all."""
    hint: str = ""
    """The next step to try; empty to use the catalogue's."""
    severity: Severity = Severity.ERROR
    shortage: Shortage | None = None
    """The numbers, where memory is what is missing."""


@attrs.frozen
class Refused:
    """A planner's no: every problem found, not only the first."""

    problems: tuple[Problem, ...]

    def __attrs_post_init__(self) -> None:
        assert self.problems, "a refusal names at least one problem"


def errors_among(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems that stop the work."""
    return tuple(p for p in problems if p.severity is Severity.ERROR)


def warnings_among(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems that are only said."""
    return tuple(p for p in problems if p.severity is Severity.WARNING)


def as_warning(problem: Problem) -> Problem:
    """The same, where it does not stop the work."""
    return attrs.evolve(problem, severity=Severity.WARNING)


def warning(code: str, message: str, *, where: str = "", hint: str = "") -> Problem:
    """A problem that does not stop the work."""
    return Problem(code=code, message=message, where=where, hint=hint, severity=Severity.WARNING)
