"""The checks that a row or a data set can fail, as a table: how grave each is, what it means, what to do."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from backprop.plan.decision import Severity


class Check(enum.Enum):
    """Every check, by the name that reports give it."""

    UNREADABLE = "unreadable"
    ENCODING = "encoding"
    LAYOUT = "layout"
    MISSING_KEY = "missing-key"
    WRONG_TYPE = "wrong-type"
    UNKNOWN_ROLE = "unknown-role"
    EMPTY_ROW = "empty-row"
    NO_ASSISTANT = "no-assistant"
    EMPTY_ASSISTANT = "empty-assistant"
    ROLE_ORDER = "role-order"
    UNBALANCED_THINK = "unbalanced-think"
    HALF_CHARACTER = "half-character"
    EQUAL_PAIR = "equal-pair"
    LABEL = "label"
    ONE_SIDED_LABELS = "one-sided-labels"
    TEMPLATE_REFUSES = "template-refuses"
    ONLY_TRACE = "only-trace"
    EMPTY_USER = "empty-user"
    SYSTEM_INSIDE = "system-inside"
    CONTROL_CHARACTER = "control-character"
    TEMPLATE_TOKEN = "template-token"
    TOO_LONG = "too-long"
    MIXED_LAYOUTS = "mixed-layouts"


@attrs.frozen
class CheckEntry:
    """What is said of one check."""

    severity: Severity
    meaning: str
    fix: str


def _error(meaning: str, fix: str) -> CheckEntry:
    return CheckEntry(Severity.ERROR, meaning, fix)


def _warning(meaning: str, fix: str) -> CheckEntry:
    return CheckEntry(Severity.WARNING, meaning, fix)


CHECKS: Mapping[Check, CheckEntry] = {
    Check.UNREADABLE: _error(
        "A line holds no record that can be read.", "Write each row as one valid record; the message names the place."
    ),
    Check.ENCODING: _error("A line is not UTF-8 text.", "Save the file as UTF-8."),
    Check.LAYOUT: _error(
        "A row is in no known layout, or in another one than the file.",
        "Give all rows one layout, or keep them in a file for each; name the layout with --format.",
    ),
    Check.MISSING_KEY: _error("A key that the layout needs is missing or null.", "Add the key, or remove the row."),
    Check.WRONG_TYPE: _error("A value is not of the type that its key takes.", "Write the value in the type named."),
    Check.UNKNOWN_ROLE: _error(
        "A turn has a role that is not known.", "Use system, user, assistant or tool (or human and gpt)."
    ),
    Check.EMPTY_ROW: _error("A row has no turns or no text.", "Remove the row."),
    Check.NO_ASSISTANT: _error("A conversation has no assistant turn to learn.", "Add the answer, or remove the row."),
    Check.EMPTY_ASSISTANT: _error(
        "An answer is blank: the model would learn to say nothing.", "Write the answer, or remove the turn."
    ),
    Check.ROLE_ORDER: _error(
        "The turns stand in an order that no chat has.",
        "Let the user begin, let the assistant answer once, and end with its answer.",
    ),
    Check.UNBALANCED_THINK: _error(
        "<think> and </think> do not pair up in an answer.", "Close each <think> once, or remove the tags."
    ),
    Check.HALF_CHARACTER: _error(
        "Text holds half of a surrogate pair, which is no character.", "Remove it, or write the whole character."
    ),
    Check.EQUAL_PAIR: _error(
        "The chosen and the rejected answer are equal: there is no preference.", "Change one, or remove the row."
    ),
    Check.LABEL: _error("A label is neither true nor false.", "Write true or false (or 1 or 0)."),
    Check.ONE_SIDED_LABELS: _error(
        "All labels are equal: KTO learns from the contrast of good and bad.", "Add rows of the other label."
    ),
    Check.TEMPLATE_REFUSES: _error(
        "The model's chat template does not take the row.", "Change the row, or choose another --chat-template."
    ),
    Check.ONLY_TRACE: _warning(
        "An answer ends with its reasoning, and nothing follows.",
        "Write the answer after it, or remove the row.",
    ),
    Check.EMPTY_USER: _warning("A user turn is blank.", "Write the question, or remove the turn."),
    Check.SYSTEM_INSIDE: _warning(
        "A system turn stands after the first turn; many templates drop or refuse it.", "Move it to the start."
    ),
    Check.CONTROL_CHARACTER: _warning("Text holds a control character.", "Remove it, unless it is meant."),
    Check.TEMPLATE_TOKEN: _warning(
        "Text holds a token of a chat template, which a tokenizer may read as one.",
        "Remove it: the template writes its tokens itself.",
    ),
    Check.TOO_LONG: _warning(
        "A row is longer than the context and would be cut.", "Raise --max-seq-length, or shorten the row."
    ),
    Check.MIXED_LAYOUTS: _warning(
        "The rows are in more than one layout; training reads one.", "Keep the layouts in a file for each."
    ),
}


@attrs.frozen
class Fault:
    """A check that an example fails, without the example's place."""

    check: Check
    message: str
    """What is wrong, in one clause with the value."""
    turn: int | None = None
    """The turn concerned, counted from 0 over the example's turns."""
    side: str = ""
    """``prompt``, ``completion``, ``chosen``, ``rejected``, ``text``; empty for a conversation."""
    excerpt: str = ""


@attrs.frozen
class Finding:
    """A check that failed, at its place."""

    check: Check
    severity: Severity
    where: str
    """``file:line``; the file alone for what concerns all of it."""
    line: int | None
    key: str
    """Where in the row, such as ``messages[2].content``; empty for the row as a whole."""
    excerpt: str
    message: str
    fix: str


def make_finding(
    check: Check, message: str, *, where: str, line: int | None = None, key: str = "", excerpt: str = ""
) -> Finding:
    """A finding with what the table says of its check."""
    entry = CHECKS[check]
    return Finding(check, entry.severity, where, line, key, excerpt, message, entry.fix)
