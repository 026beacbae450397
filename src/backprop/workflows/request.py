"""What every workflow is given: the resolved settings, where they came from, and somebody to tell what happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import attrs

from backprop.plan.decision import Problem
from backprop.plan.settings.log import LogSettings
from backprop.plan.settings.resolve import Origins

if TYPE_CHECKING:  # the union of events brings the whole training plan along, which most commands never need
    from backprop.plan.events import Event

S = TypeVar("S")

Emit: TypeAlias = "Callable[[Event], None]"


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
    log: LogSettings = attrs.field(factory=LogSettings)
    """How the program talks."""
