"""What is told of a data set's row, and of a data set that was written."""

from __future__ import annotations

import attrs

from backprop.plan.data.conversation import Conversation, Example, Pair, Passage, Preference, Rated, reasoning_of
from backprop.plan.data.mask import MaskExample


@attrs.frozen
class Turn:
    """A turn as it is read: who says what, whether it is learned, and what else it has."""

    role: str
    content: str
    learned: bool
    reasoning: str = ""
    others: tuple[str, ...] = ()
    """The names of what else the turn has, such as ``tool_calls``."""


@attrs.frozen
class Part:
    """One text or conversation of a row; a preference has two."""

    title: str
    """``chosen``, ``rejected``, ``good``, ``bad``; empty for the row itself."""
    turns: tuple[Turn, ...]


@attrs.frozen
class ShowReport:
    """One row, as it was written, as it is read, and as a model would see it."""

    dataset: str
    row: int
    where: str
    """``file:line``."""
    layout: str
    parts: tuple[Part, ...]
    rendered: str | None = None
    """The text that the model's template makes of it."""
    mask: MaskExample | None = None


@attrs.frozen
class ConvertReport:
    """A data set in another layout."""

    dataset: str
    out: str
    layout_from: str
    layout_to: str
    rows_written: int
    rows_left_out: int


def parts_of(example: Example) -> tuple[Part, ...]:
    """The example in parts that a person reads one after the other."""
    if isinstance(example, Preference):
        return (_part("chosen", example.chosen), _part("rejected", example.rejected))
    if isinstance(example, Rated):
        return (_part("good" if example.label else "bad", example.example),)
    return (_part("", example),)


def _part(title: str, example: Conversation | Pair | Passage) -> Part:
    if isinstance(example, Passage):
        return Part(title, (Turn("text", example.text, learned=True),))
    if isinstance(example, Pair):
        prompt, completion = example.prompt, example.completion
        return Part(title, (Turn("prompt", prompt, learned=False), Turn("completion", completion, learned=True)))
    return Part(
        title,
        tuple(
            Turn(
                role=message["role"],
                content=message.get("content", ""),
                learned=learned,
                reasoning=reasoning_of(message),
                others=tuple(sorted(set(message) - {"role", "content"})),
            )
            for message, learned in zip(example.messages, example.learned, strict=True)
        ),
    )


@attrs.frozen
class SplitReport:
    """A data set in two parts."""

    dataset: str
    out_train: str
    out_heldout: str
    n_train: int
    n_heldout: int
    num_clusters: int
    """Groups of rows that stay together; a row that is like no other is one."""
    rows_broken: int
    """Rows that cannot be read and stand in neither part."""


@attrs.frozen
class DedupeReport:
    """A data set without its duplicates."""

    dataset: str
    out: str
    removed: str
    rows_kept: int
    rows_equal: int
    """Removed, since an earlier row has the same text."""
    rows_similar: int
    """Removed, since they are like a row that was kept, or linked to one by others like them."""
    rows_broken: int
    """Rows that cannot be read and were left out, too."""
