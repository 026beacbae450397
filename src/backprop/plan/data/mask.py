"""From learned characters to learned tokens, and back to text for the person who wants to see them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import attrs

from backprop.plan.data.turns import Span

Offsets = Sequence[Span]
"""The characters each token covers, [start, end), as a tokenizer reports them."""


def token_mask(text: str, offsets: Offsets, spans: Sequence[Span]) -> bytearray:
    """One byte a token, 1 where the token begins within a span of characters.

    A token begins at its first character that is no blank, a blank token at its own first. So the line end that belongs
    to a prompt stays out, and a word that carries the blank before it is in, whether the tokenizer trims its offsets
    or not. All tokens of a character that takes several are treated alike.
    """
    mask = bytearray(len(offsets))
    for start, end in spans:
        first, last = _first_token(text, offsets, start), _first_token(text, offsets, end)
        mask[first:last] = b"\1" * (last - first)
    return mask


def _first_token(text: str, offsets: Offsets, at: int) -> int:
    """The first token that begins at or after the character ``at``; cost is logarithmic."""
    index = bisect_left(offsets, (at, -1))
    # A blank token whose offsets were trimmed is empty and stands at its end; it begins where the one before it ended.
    while index < len(offsets) and offsets[index] == (at, at) and index > 0 and _true_end(offsets, index - 1) < at:
        index += 1
    while index and offsets[index - 1][1] > at and _begins_after_blanks(text, offsets[index - 1], at):
        index -= 1
    return index


def _true_end(offsets: Offsets, index: int) -> int:
    """Where the nearest token at or before ``index`` that covers any character ends."""
    while index > 0 and offsets[index][0] == offsets[index][1]:
        index -= 1
    return offsets[index][1]


def _begins_after_blanks(text: str, offset: Span, at: int) -> bool:
    start, end = offset
    return start < at and text[start:at].isspace() and not text[start:end].isspace()


@attrs.frozen
class Piece:
    """Neighbouring tokens that are alike in being learned or not, as text."""

    text: str
    learned: bool


@attrs.frozen
class MaskExample:
    """A row as the model will see it."""

    where: str
    """``file:line``."""
    pieces: tuple[Piece, ...]
    num_tokens: int
    """Tokens that are trained on."""
    num_cut: int = 0
    """Tokens at the end that the sequence length cuts away."""


def mask_pieces(text: str, offsets: Offsets, mask: Sequence[int]) -> tuple[Piece, ...]:
    """The text of the tokens in runs of equal mask; the pieces joined are the text up to the last token's end."""
    pieces: list[tuple[str, bool]] = []
    at = 0
    for (_, token_end), learned in zip(offsets, mask, strict=True):
        end = max(token_end, at)
        if pieces and pieces[-1][1] == bool(learned):
            pieces[-1] = (pieces[-1][0] + text[at:end], bool(learned))
        elif end > at:
            pieces.append((text[at:end], bool(learned)))
        at = end
    return tuple(Piece(part, learned) for part, learned in pieces)
