"""Functions of the caller that hear of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError, hint_for
from backprop.plan.events import CheckpointSaved, Event, Planned, Progressed
from backprop.plan.runs.report import TrainReport
from backprop.plan.training.plan import TrainPlan

_LOG = logging.getLogger(__name__)


def log_warnings(problems: Iterable[Problem]) -> None:
    """What the command would tell on stderr goes to the log of a program."""
    for problem in problems:
        _LOG.warning("[%s] %s %s", problem.code, problem.message, hint_for(problem))


@attrs.frozen
class Callbacks:
    """Each is called with one value; an exception in it is logged, and training goes on."""

    on_step: Callable[[Progressed], object] | None = None
    """After every optimizer step."""
    on_epoch: Callable[[int], object] | None = None
    """After the step that ends a pass over the data, with the number of passes done."""
    on_save: Callable[[CheckpointSaved], object] | None = None
    on_complete: Callable[[TrainReport], object] | None = None
    on_error: Callable[[BackpropError], object] | None = None
    _plans: list[TrainPlan] = attrs.field(factory=list, init=False, repr=False, eq=False)
    """The plan of the run that is told of; passes are counted by it."""

    def __call__(self, event: Event) -> None:
        """Hear one event of a run."""
        if isinstance(event, Planned):
            self._plans[:] = [event.plan]
            log_warnings(event.warnings)
        elif isinstance(event, Progressed):
            self._call(self.on_step, event)
            passes = self._passes(event.step)
            if passes > self._passes(event.step - 1):
                self._call(self.on_epoch, passes)
        elif isinstance(event, CheckpointSaved):
            self._call(self.on_save, event)

    def completed(self, report: TrainReport) -> None:
        """The run is complete."""
        self._call(self.on_complete, report)

    def failed(self, error: BackpropError) -> None:
        """The run was refused, or ended by an error."""
        self._call(self.on_error, error)

    def _passes(self, step: int) -> int:
        plan = self._plans[-1]
        return step * plan.batch.effective // plan.length.sequences

    def _call(self, function: Callable[[Any], object] | None, value: Any) -> None:
        if function is None:
            return
        try:
            function(value)
        except Exception:
            _LOG.exception("A callback raised; training goes on.")
