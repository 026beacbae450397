"""The course of a run's loss as files that need no program of ours: lines of numbers, and a drawing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

import attrs

from backprop.plan.events import Evaluated, Step
from backprop.plan.runs.event_log import RecordedEvent, heldout_losses_of, losses_of

Curve = tuple[tuple[int, float], ...]
"""(step, loss in nats a supervised token), by step."""

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 34, 36
MOST_POINTS = 2 * (WIDTH - LEFT - RIGHT)
"""More than two in a pixel are not seen."""
TICKS = 5
TRAINING_COLOUR, HELDOUT_COLOUR = "#3366aa", "#cc6633"


def metrics_text(events: Iterable[RecordedEvent]) -> str:
    """A JSON object a line for every report of the loss and every evaluation, in order."""
    return "".join(json.dumps(line, allow_nan=False) + "\n" for line in map(_metrics, events) if line)


def _metrics(recorded: RecordedEvent) -> dict[str, str | float | None] | None:
    event = recorded.event
    if isinstance(event, Step):
        return {
            "at": recorded.at,
            "step": event.step,
            "epoch": event.epoch,
            "loss": event.loss,
            "learning_rate": event.learning_rate,
            "grad_norm": event.grad_norm,
            "tokens_per_second": event.tokens_per_second,
        }
    if isinstance(event, Evaluated):
        return {"at": recorded.at, "step": event.step, "heldout_loss": event.loss, "heldout_tokens": event.num_tokens}
    return None


def loss_svg(events: Sequence[RecordedEvent], *, title: str) -> str:
    """The training loss over the steps, and the held-out loss where it was measured, as a drawing in SVG."""
    training, heldout = losses_of(events), heldout_losses_of(events)
    axes = _axes((*training, *heldout))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="11">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="13">{escape(title)}</text>',
        *(_grid(axes) if axes else ()),
        *(_line(training, axes, TRAINING_COLOUR, "training loss", place=0) if axes and training else ()),
        *(_line(heldout, axes, HELDOUT_COLOUR, "held-out loss", place=1) if axes and heldout else ()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


@attrs.frozen
class _Axes:
    """What of the numbers is at the edges of the drawing."""

    first: float
    last: float
    lowest: float
    highest: float

    def x(self, step: float) -> float:
        return LEFT + (step - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def y(self, loss: float) -> float:
        return TOP + (self.highest - loss) / (self.highest - self.lowest) * (HEIGHT - TOP - BOTTOM)


def _axes(points: Curve) -> _Axes | None:
    """Round numbers around the points; None without any."""
    if not points:
        return None
    losses = [loss for _, loss in points]
    # Losses that differ less than float64 can show apart are drawn as one line.
    span = max(max(losses) - min(losses), 1e-6 * max(map(abs, losses)), 1e-9)
    step = _round_step(span / TICKS)
    lowest = math.floor(min(losses) / step) * step
    highest = max(math.ceil(max(losses) / step) * step, lowest + step)
    steps = [number for number, _ in points]
    return _Axes(min(steps), max(*steps, min(steps) + 1), lowest, highest)


def _round_step(rough: float) -> float:
    """The smallest of 1, 2, 5, 10 times a power of ten that is not below ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough * (1 - 1e-9))


def _grid(axes: _Axes) -> Iterable[str]:
    step = _round_step((axes.highest - axes.lowest) / TICKS)
    for i in range(round((axes.highest - axes.lowest) / step) + 1):
        loss = axes.lowest + i * step
        y = axes.y(loss)
        yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#dddddd"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{loss:.4g}</text>'
    for i in range(TICKS):
        number = round(axes.first + i / (TICKS - 1) * (axes.last - axes.first))
        yield f'<text x="{axes.x(number):.1f}" y="{HEIGHT - 18}" text-anchor="middle">{number}</text>'
    yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">step</text>'


def _line(curve: Curve, axes: _Axes, colour: str, name: str, *, place: int) -> Iterable[str]:
    points = _thinned(curve)
    drawn = " ".join(f"{axes.x(step):.1f},{axes.y(loss):.1f}" for step, loss in points)
    yield f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
    if len(points) == 1:
        step, loss = points[0]
        yield f'<circle cx="{axes.x(step):.1f}" cy="{axes.y(loss):.1f}" r="2.5" fill="{colour}"/>'
    step, loss = curve[-1]
    where = WIDTH - RIGHT - 170 * (1 - place)
    yield f'<text x="{where}" y="20" text-anchor="end" fill="{colour}">{name} {loss:.4f}</text>'


def escape(text: str) -> str:
    """Text as XML holds it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _thinned(curve: Curve) -> Curve:
    """At most :data:`MOST_POINTS` points, the mean of each stretch; the last one as it is."""
    stride = -(-len(curve) // MOST_POINTS)
    if stride == 1:
        return curve
    groups = [curve[start : start + stride] for start in range(0, len(curve), stride)]
    means = tuple((group[-1][0], sum(loss for _, loss in group) / len(group)) for group in groups)
    return (*means[:-1], curve[-1])
