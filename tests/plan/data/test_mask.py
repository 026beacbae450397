from __future__ import annotations

from backprop.plan.data.mask import Piece, mask_pieces, token_mask

TEXT = "Q: hi A: yes\n"
WHOLE = ((0, 2), (2, 5), (5, 7), (7, 8), (8, 12), (12, 13))
TRIMMED = ((0, 2), (3, 5), (6, 7), (7, 8), (9, 12), (13, 13))
"""The same tokens, as a tokenizer reports them that trims the blanks off its offsets."""


def test_a_word_that_carries_the_blank_before_it_is_learned_with_it() -> None:
    for offsets in (WHOLE, TRIMMED):
        assert list(token_mask(TEXT, offsets, [(9, 12)])) == [0, 0, 0, 0, 1, 0]
        assert list(token_mask(TEXT, offsets, [(8, 12)])) == [0, 0, 0, 0, 1, 0]


def test_the_line_end_after_a_span_stays_out_and_one_within_it_is_in() -> None:
    assert list(token_mask(TEXT, WHOLE, [(3, 5), (9, 13)])) == [0, 1, 0, 0, 1, 1]


def test_all_tokens_of_one_character_are_treated_alike() -> None:
    assert list(token_mask("a🎉b", ((0, 1), (1, 2), (1, 2), (2, 3)), [(1, 2)])) == [0, 1, 1, 0]


def test_pieces_are_the_text_in_runs_of_equal_mask() -> None:
    pieces = mask_pieces(TEXT, TRIMMED, [0, 0, 0, 0, 1, 0])
    assert pieces == (Piece("Q: hi A:", learned=False), Piece(" yes", learned=True), Piece("\n", learned=False))
