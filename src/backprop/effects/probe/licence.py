"""The licence that a model's own card declares."""

from __future__ import annotations

import re
from pathlib import Path

_CARD = "README.md"
_HEAD = re.compile(r"---\s*\n(.*?)\n---", re.DOTALL)
_LICENCE = re.compile(r"^license:[ \t]*[\"']?([A-Za-z0-9][A-Za-z0-9.+-]*)[\"']?[ \t]*$", re.MULTILINE)
_LONGEST = 2**16


def observe_licence(model_dir: str | Path | None) -> str | None:
    """The Hub's name of the licence, such as ``apache-2.0``; None where the card is missing or does not say one."""
    if model_dir is None:
        return None
    try:
        with (Path(model_dir) / _CARD).open(encoding="utf-8", errors="replace") as file:
            head = _HEAD.match(file.read(_LONGEST))
    except OSError:
        return None
    found = _LICENCE.search(head[1]) if head else None
    # "other" is told by a name and a link beside it, which the card would have to carry along.
    return found[1].lower() if found and found[1].lower() != "other" else None
