"""The nearest valid name to a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like ``word``, ignoring case, or None when none is close."""
    from difflib import get_close_matches  # needed only when something is misspelt

    by_lower = {c.lower(): c for c in candidates}
    found = get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None
