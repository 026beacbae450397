from __future__ import annotations

import pytest

from backprop.plan.data.excerpt import excerpt


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("a\n\n b\tc ", "a b c"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 59 + "…"),
        ("\n" * 1000 + "late", "late"),
    ],
)
def test_an_excerpt_is_one_line_of_at_most_sixty_characters(text: str, shown: str) -> None:
    assert excerpt(text) == shown
