"""Which rows are held out: by a hash of their content, so that rows equal but for case and blanks stand together."""

from __future__ import annotations

from array import array

import attrs


@attrs.frozen
class Share:
    """A part of the data, as ``--eval-split`` gives it: above 0 and below 1."""

    of_rows: float


def read_split(text: str) -> Share | str:
    """``--eval-split`` as a share or a file name. Raises ``ValueError`` for a number that is no share."""
    try:
        number = float(text)
    except ValueError:
        return text
    if not 0 < number < 1:
        raise ValueError("a share above 0 and below 1, such as 0.1, or a file")
    return Share(number)


def heldout_threshold(hashes: array[int], share: Share) -> int | None:
    """Rows whose hash is at most this are held out: ``share`` of them, rounded, but at least one on each side.

    Equal rows count as often as they stand, so a side may be a little larger. None when all rows are equal, or none.
    """
    ordered = sorted(hashes)
    if not ordered or ordered[0] == ordered[-1]:
        return None
    wanted = min(max(round(share.of_rows * len(ordered)), 1), len(ordered) - 1)
    threshold = ordered[wanted - 1]
    return threshold if threshold < ordered[-1] else max(h for h in ordered if h < threshold)
