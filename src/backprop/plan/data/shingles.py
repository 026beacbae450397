"""The shingles of texts: what two of them have in common is how alike they are.

A shingle is three words running, as 64 bits. Everything is computed for many texts at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

WORDS = 3
"""Words of a shingle."""


@attrs.frozen(eq=False)
class ShingleSets:
    """The shingles of texts, text after text; cheap to send to another process."""

    hashes: Hashes
    """(all shingles,): of each text ascending, none twice."""
    ends: npt.NDArray[np.int64]
    """(texts,): where the shingles of each text end in ``hashes``. Every text has one at least."""

    def __len__(self) -> int:
        return len(self.ends)

    def of(self, text: int) -> Hashes:
        """The shingles of one text."""
        return self.hashes[self.ends[text - 1] if text else 0 : self.ends[text]]


def shingles_of(texts: Sequence[str]) -> ShingleSets:
    """The shingles of each text; the texts are normalised (:func:`backprop.plan.data.compared.compared_text`).

    A word is a run of letters, digits and marks; in scripts that write no blanks between words each character is one.
    Texts of fewer than three words have one shingle of all of them, texts without a word one of the whole text.
    """
    raise NotImplementedError


def shared_excerpt(text: str, hashes: Hashes) -> str:
    """The longest piece of a text whose shingles are all among ``hashes`` (ascending); "" without one."""
    raise NotImplementedError
