"""What every workflow is given: the resolved settings, where they came from, and somebody to tell what happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

import attrs

from backprop.plan.decision import Problem
from backprop.plan.events import Event
from backprop.plan.settings.resolve import Origins

S = TypeVar("S")

Emit: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Tell nobody."""


@attrs.frozen
class Request(Generic[S]):
    """One call of a verb. A workflow is ``run(request) -> Outcome``; it raises nothing but ``BackpropError``."""

    settings: S
    origins: Origins = attrs.field(factory=Origins)
    warnings: tuple[Problem, ...] = ()
    """What resolving the settings was worth a warning; a workflow puts them into its outcome."""
    emit: Emit = ignore
