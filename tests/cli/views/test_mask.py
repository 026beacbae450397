"""What is learned, seen at a glance and without colour."""

from __future__ import annotations

from backprop.cli.style import Style
from backprop.cli.views.mask import show_masks
from backprop.plan.data.mask import MaskExample, Piece

ROW = MaskExample("rows.jsonl:1", (Piece("ask \x1b[2J", False), Piece("answer", True)), num_tokens=1234, num_cut=0)


def test_learned_text_stands_in_brackets_below_the_place_of_the_row() -> None:
    assert show_masks([ROW], Style()) == "rows.jsonl:1  1,234 tokens\nask \\x1b[2J⟦answer⟧\n"


def test_without_unicode_the_brackets_are_ascii() -> None:
    assert "[[answer]]" in show_masks([ROW], Style(unicode=False))


def test_colour_adds_to_the_brackets() -> None:
    assert "\x1b[32m⟦answer⟧\x1b[0m" in show_masks([ROW], Style(colour=True))
