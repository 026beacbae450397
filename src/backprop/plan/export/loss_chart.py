"""The course of a run's losses, as one line of text and as a small SVG image without script, font or other file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

Losses = Sequence[tuple[int, float]]
"""(step, loss)"""

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 260, 56, 16, 28, 32
_TRAINING, _HELDOUT = "#2563eb", "#d97706"
_NUM_POINTS = 600
"""More than a screen has columns for."""


def sparkline(values: Sequence[float], *, width: int = 40) -> str:
    """The course of the finite values in one line, each column the mean of its share of them; "" for none."""
    finite = [value for value in values if math.isfinite(value)]
    means = _means(finite, width)
    if not means:
        return ""
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int((mean - low) / span * len(_BARS)))] for mean in means)


def _means(values: Sequence[float], num: int) -> list[float]:
    num = min(num, len(values))
    bounds = [len(values) * i // num for i in range(num + 1)] if num else [0]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(bounds)]


def loss_svg(losses: Losses, heldout: Losses, *, title: str) -> str:
    """Training losses as a line, a single one and held-out ones as points, in nats a token over steps; "" for none."""
    training, measured = _finite(losses), _finite(heldout)
    every = [*training, *measured]
    if not every:
        return ""
    steps, values = [step for step, _ in every], [loss for _, loss in every]
    first, last, low, high = min(steps), max(steps), min(values), max(values)

    def place(point: tuple[float, float]) -> str:
        x = _LEFT + (point[0] - first) / ((last - first) or 1) * (_WIDTH - _LEFT - _RIGHT)
        y = _TOP + (high - point[1]) / ((high - low) or 1) * (_HEIGHT - _TOP - _BOTTOM)
        return f"{x:.1f},{y:.1f}"

    def dot(point: tuple[float, float], fill: str) -> str:
        x, y = place(point).split(",")
        return f'<circle cx="{x}" cy="{y}" r="3" fill="{fill}"/>'

    line = " ".join(place(point) for point in _thinned(training))
    parts = [
        f'<polyline points="{line}" fill="none" stroke="{_TRAINING}" stroke-width="1.5"/>' if training[1:] else "",
        *(dot(point, _TRAINING) for point in training if not training[1:]),
        *(dot(point, _HELDOUT) for point in _thinned(measured)),
        *_labels(first, last, low, high),
        _text(_LEFT, 16, f"training loss {training[-1][1]:.4f}", fill=_TRAINING) if training else "",
        _text(_LEFT + 180, 16, f"held-out loss {measured[-1][1]:.4f}", fill=_HELDOUT) if measured else "",
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'role="img" font-family="sans-serif" font-size="12"><title>{escape(title)}</title>'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


def _labels(first: float, last: float, low: float, high: float) -> list[str]:
    base, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    return [
        f'<path d="M{_LEFT} {_TOP}V{base}H{right}" fill="none" stroke="#94a3b8"/>',
        _text(_LEFT - 6, _TOP + 4, f"{high:.3g}", anchor="end"),
        _text(_LEFT - 6, base, f"{low:.3g}", anchor="end"),
        _text(_LEFT, base + 18, f"step {first:,.0f}"),
        _text(right, base + 18, f"{last:,.0f}", anchor="end"),
    ]


def _text(x: int, y: int, text: str, *, anchor: str = "start", fill: str = "#475569") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'


def _finite(losses: Losses) -> list[tuple[float, float]]:
    return [(step, loss) for step, loss in losses if math.isfinite(loss)]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """As many points as can be seen, each the mean of its share."""
    steps, losses = ([point[i] for point in points] for i in (0, 1))
    return list(zip(_means(steps, _NUM_POINTS), _means(losses, _NUM_POINTS), strict=True))
