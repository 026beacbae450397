"""The data set as one streaming pass found it: counts, lengths and what of them is learned."""

from __future__ import annotations

import attrs

from backprop.plan.data.check import Check
from backprop.plan.decision import Problem


@attrs.frozen
class RowCount:
    """A count among rows, with one example to look at."""

    rows: int
    example: str = ""
    """Where one of them stands, ``file:line``, with a short excerpt."""


@attrs.frozen
class TokenFacts:
    """What the rows are as tokens, after cutting at the sequence length."""

    tokens: int
    supervised_tokens: int
    """Tokens that the loss is taken over."""
    length_counts: tuple[tuple[int, int], ...]
    """(length in tokens, rows) of the rows that are trained on, ascending; at most the sequence length long."""
    longest_uncut: int
    """Tokens of the longest row before cutting."""
    uncut_p50: int
    uncut_p90: int
    uncut_p99: int
    """Quantiles of the row lengths before cutting, for the remedy that a problem names."""
    truncated: RowCount
    """Rows longer than the sequence length: cut, or left out where their answers are judged."""
    without_target: RowCount
    """Rows that have no token to learn (left); they are not trained on."""
    fully_supervised: RowCount
    """Conversations and pairs all of whose tokens are learned."""
    lost_targets: RowCount
    """Rows some of whose target text the chat template dropped."""
    unplaced_targets: RowCount
    """Rows with a turn that could not be found in the rendered text."""
    unended_targets: RowCount
    """Rows with an assistant turn that no end-of-turn token ends."""
    end_tokens: tuple[str, ...] = ()
    """The tokens that end what is learned; generation stops at them."""

    @property
    def sequences(self) -> int:
        """Rows that are trained on."""
        return sum(rows for _, rows in self.length_counts)


@attrs.frozen
class FaultCount:
    """Rows that fail a check and are trained on as they are."""

    check: Check
    rows: RowCount


@attrs.frozen
class Ratings:
    """Rated answers that are trained on."""

    desirable: int
    undesirable: int


@attrs.frozen
class TraceFacts:
    """Rows by their reasoning traces, where only rows with good ones are learned."""

    kept: int
    empty: RowCount
    """No trace, or one shorter than the least."""
    too_long: RowCount
    unbalanced: RowCount
    """<think> and </think> do not pair up."""

    @property
    def left_out(self) -> int:
        """Rows that are not learned."""
        return self.empty.rows + self.too_long.rows + self.unbalanced.rows


@attrs.frozen
class DatasetFacts:
    """A data set, or the held-out part of one."""

    name: str
    """As the user gave it; for a file the absolute path."""
    files: tuple[str, ...]
    fingerprint: str
    """SHA-256 over the files' bytes."""
    num_bytes: int
    row_format: str
    """How the rows are laid out, such as ``openai``."""
    rendering: str
    """How a row becomes text: ``chat template``, ``prompt + completion`` or ``raw text``."""
    rows: int
    """Rows read, broken ones included."""
    broken: tuple[Problem, ...] = ()
    """The first broken rows, each with its line."""
    num_broken: int = 0
    tokens: TokenFacts | None = None
    """None without a tokenizer. A pair counts as one row as long as its longer answer, with the tokens of both."""
    ratings: Ratings | None = None
    """None where answers are not rated."""
    faults: tuple[FaultCount, ...] = ()
    """Rows with an error that keeps nobody from training on them, by check; most first."""
    traces: TraceFacts | None = None
    """None where reasoning traces are not asked for, or cannot be measured for want of a tokenizer."""


@attrs.frozen
class DataFacts:
    """What is trained on, and what is held out."""

    train: DatasetFacts
    heldout: DatasetFacts | None = None
