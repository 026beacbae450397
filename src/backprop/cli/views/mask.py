"""Rows as the model will see them: what is learned in green between ⟦ and ⟧, the rest dim."""

from __future__ import annotations

from collections.abc import Sequence

from backprop.cli.style import Style, printable
from backprop.plan.data.mask import MaskExample, Piece


def show_masks(examples: Sequence[MaskExample], style: Style) -> str:
    """The examples one under the other, each below a line that names its place; the brackets show without colour."""
    return "\n".join(_show(example, style) for example in examples)


def _show(example: MaskExample, style: Style) -> str:
    cut = f", {example.num_cut:,} more cut away" if example.num_cut else ""
    title = style.bold(example.where) + style.dim(f"  {example.num_tokens:,} tokens{cut}")
    return f"{title}\n{''.join(_piece(piece, style) for piece in example.pieces)}\n"


def _piece(piece: Piece, style: Style) -> str:
    text = printable(piece.text)
    if not piece.learned:
        return style.dim(text)
    opening, closing = ("⟦", "⟧") if style.unicode else ("[[", "]]")
    return style.green(f"{opening}{text}{closing}")
