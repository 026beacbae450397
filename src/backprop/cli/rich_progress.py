"""The bar of a training run on a terminal: step, loss, learning rate, tokens a second, time left, the loss's course."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from backprop.cli.progress import duration, line_of
from backprop.cli.style import Style
from backprop.plan.events import Event, Progressed, Started, Step, Written

_COURSE_COLUMNS = 20
_MB = 10**6


class RichProgress:
    """A live bar on stderr; events other than steps scroll above it."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._console = Console(file=sys.stderr, no_color=not style.colour, highlight=False)
        self._bar = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TextColumn("{task.fields[course]}"),
            console=self._console,
        )
        self._task = self._bar.add_task("", total=None, numbers="", course="", visible=False)
        self._losses: list[float] = []
        self._learning_rate = ""

    def __call__(self, event: Event) -> None:
        """Tell one event."""
        if isinstance(event, Started):
            self._bar.start()
            self._bar.update(self._task, total=event.num_steps, completed=event.from_step, visible=True)
        if isinstance(event, Step):
            self._learning_rate = f"lr {event.learning_rate:.2e}  "
            self._show(event)
        elif isinstance(event, Progressed):
            self._losses.append(event.loss)
            self._show(event)
        elif isinstance(event, Written):
            self._bar.start()
            done, total = event.done_bytes // _MB, max(1, event.total_bytes // _MB)
            self._bar.update(self._task, total=total, completed=done, numbers="MB", visible=True)
        elif (line := line_of(event)) is not None:
            self._console.print(line, markup=False)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()

    def _show(self, event: Step | Progressed) -> None:
        numbers = (
            f"loss {event.loss:.4f}  {self._learning_rate}{event.tokens_per_second:.0f} tokens/s  "
            f"ETA {duration(event.eta_seconds)}"
        )
        course = self._style.sparkline(self._losses, width=_COURSE_COLUMNS)
        self._bar.update(self._task, completed=event.step, numbers=numbers, course=course)
