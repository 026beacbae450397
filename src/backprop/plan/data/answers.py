"""Which rows a training method learns from, and how two answers to one prompt are brought to begin alike."""

from __future__ import annotations

from collections.abc import Sequence

from backprop.plan.data.conversation import Conversation, Example, Pair, Passage, Preference, Rated
from backprop.plan.data.layout import JUDGED, Layout
from backprop.plan.memory.objective import Objective

LAYOUTS: dict[Objective, frozenset[Layout]] = {
    Objective.SFT: frozenset(Layout) - frozenset(JUDGED),
    Objective.ORPO: frozenset({Layout.PREFERENCE}),
    Objective.SIMPO: frozenset({Layout.PREFERENCE}),
    Objective.KTO: frozenset({Layout.KTO}),
}
"""What each method learns from."""


def answers_of(example: Example) -> tuple[Conversation | Pair | Passage, ...]:
    """The answers of a row, each with its prompt: of a pair the chosen one first."""
    if isinstance(example, Preference):
        return (example.chosen, example.rejected)
    return (example.example,) if isinstance(example, Rated) else (example,)


def align_prompts(one: Sequence[int], other: Sequence[int], *, starts: tuple[int, int]) -> int:
    """How many tokens two sequences have in common before either's first learned one, ``starts``.

    A tokenizer may join the end of a prompt and the beginning of an answer into one token, and another one for another
    answer. What is equal is the prompt of both; the joined token belongs to each answer.
    """
    bound = min(starts)
    return next((at for at in range(bound) if one[at] != other[at]), bound)
