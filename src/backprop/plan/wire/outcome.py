"""What a workflow returns: status, problems, and a report of its own; the renderers and the JSON envelope read it."""

from __future__ import annotations

import enum
from typing import Any

import attrs

from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.exit_code import exit_code_for

SCHEMA_VERSION = 1


class Status(enum.Enum):
    """How a command ended."""

    OK = "ok"
    REFUSED = "refused"
    """Nothing was started."""
    FAILED = "failed"
    """Something was started and did not end well."""
    INTERRUPTED = "interrupted"


@attrs.frozen
class Outcome:
    """The end of a command. ``report`` is an attrs object whose fields stand at the top of the JSON envelope."""

    command: str
    status: Status
    report: Any = None
    problems: tuple[Problem, ...] = ()

    @property
    def exit_code(self) -> int:
        """What the process exits with."""
        return exit_code_for(self.problems)


def ok(command: str, report: Any, *, warnings: tuple[Problem, ...] = ()) -> Outcome:
    """A command that did what was asked."""
    return Outcome(command, Status.OK, report, warnings)


def refused(command: str, problems: tuple[Problem, ...]) -> Outcome:
    """A command that started nothing."""
    return Outcome(command, Status.REFUSED, None, problems)


def failed(command: str, error: BackpropError) -> Outcome:
    """A command that an error ended."""
    return Outcome(command, Status.FAILED, None, error.problems)
