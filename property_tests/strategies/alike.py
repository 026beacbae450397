"""Texts of which some repeat others, with or without changes."""

from __future__ import annotations

from hypothesis import strategies as st

_WORDS = ("a", "b", "c", "d", "one", "naïve", "日", "ก", "👍", "x" * 40)
_SIGNS = ("", "!", "...", "—")


@st.composite
def alike_texts(draw: st.DrawFn, max_size: int = 15) -> list[str]:
    """Texts made of few words, from a few beginnings with changes at one place."""
    words = st.lists(st.sampled_from(_WORDS), max_size=24)
    bases = draw(st.lists(words, min_size=1, max_size=4))
    texts = []
    for _ in range(draw(st.integers(0, max_size))):
        row = list(draw(st.sampled_from(bases)))
        at = draw(st.integers(0, len(row)))
        row[at : at + draw(st.integers(0, 2))] = draw(st.lists(st.sampled_from(_WORDS), max_size=2))
        texts.append(" ".join(row) + draw(st.sampled_from(_SIGNS)))
    return texts


def thresholds() -> st.SearchStrategy[float]:
    """Similarities, and the fractions that sets of shingles have exactly."""
    return st.sampled_from((0.5, 0.8, 0.9, 0.95, 1.0, 2 / 3, 1e-9)) | st.floats(0.01, 1)
