"""Bar charts as inline SVG: no script, no font, no other file; colours are the page's own variables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_WIDTH, _ROW, _BAR, _LABEL, _VALUE = 640, 22, 14, 150, 110


def bar_chart(bars: Sequence[tuple[str, int]], *, title: str) -> str:
    """A horizontal bar a (label, count), the longest the full width; "" for no bars. ``title`` is read to the blind."""
    if not bars:
        return ""
    counts = [count for _, count in bars]
    most, total = max(1, *counts), max(1, sum(counts))
    room = _WIDTH - _LABEL - _VALUE
    rows = []
    for number, (label, count) in enumerate(bars):
        top = number * _ROW
        middle = top + _ROW / 2
        # A bin that is not empty is never invisible.
        width = max(count / most * room, 1.5) if count else 0
        rows.append(
            f'<text x="{_LABEL - 8}" y="{middle:.0f}" class="l">{escape(label)}</text>'
            f'<rect x="{_LABEL}" y="{top + (_ROW - _BAR) / 2:.0f}" width="{width:.1f}" height="{_BAR}" rx="2"/>'
            f'<text x="{_LABEL + width + 6:.1f}" y="{middle:.0f}">{count:,} ({count / total:.1%})</text>'
        )
    height = len(bars) * _ROW
    shape = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    return f'<svg {shape} role="img" aria-label="{escape(title)}">{"".join(rows)}</svg>'
