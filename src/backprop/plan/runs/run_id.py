"""The name of a run: it sorts by time, fits in a file name, and is short enough to type the beginning of."""

from __future__ import annotations

import re
from datetime import UTC, datetime

# Crockford's base 32: no letter that is taken for a digit.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_SUFFIX_CHARACTERS = 4
_RUN_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-z]{4}")


def make_run_id(now: datetime, entropy: int) -> str:
    """A run id such as ``20261124-193802-k3f9``: UTC to the second, then 20 bits of ``entropy``.

    Two runs of one second collide when their entropy agrees modulo 2**20. ``now`` must know its time zone.
    """
    assert now.tzinfo is not None, "a run is named by a moment, not by a wall clock"
    suffix = ""
    for _ in range(_SUFFIX_CHARACTERS):
        entropy, digit = divmod(entropy, len(_ALPHABET))
        suffix = _ALPHABET[digit] + suffix
    return f"{now.astimezone(UTC):%Y%m%d-%H%M%S}-{suffix}"


def is_run_id(text: str) -> bool:
    """Whether ``text`` is the whole name of a run; nothing else is ever made a directory under ``runs/``."""
    return _RUN_ID.fullmatch(text) is not None


def utc_text(now: datetime) -> str:
    """A moment as records keep it, ``2026-11-24T19:38:02Z``."""
    assert now.tzinfo is not None, "a record keeps moments, not wall clocks"
    return f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
