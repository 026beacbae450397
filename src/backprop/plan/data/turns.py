"""Which characters of a rendered conversation are learned: for every assistant turn what the model must write after the
generation prompt, through the token that ends the turn, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import attrs

from backprop.plan.data.conversation import Conversation, Message, RowError, reasoning_of, tool_names_of

Span = tuple[int, int]
_THINK_END = "</think>"


class Render(Protocol):
    """A chat template at work. Raises :class:`RowError` when the template refuses the messages."""

    def __call__(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool = False,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str: ...


@attrs.frozen
class Placed:
    """A rendered conversation with its learned characters."""

    text: str
    spans: tuple[Span, ...]
    """Learned characters, ascending and apart."""
    targets: tuple[str, ...]
    """Every piece of target text that stands within the spans, in order."""
    lost: tuple[str, ...] = ()
    """Target text that the template dropped or rewrote."""
    unplaced: int = 0
    """Assistant turns that were not found."""
    unended: int = 0
    """Assistant turns that no token ends."""
    ends: tuple[str, ...] = ()
    """The tokens that end turns, each once."""


class TurnEnds:
    """Finds the token that ends a turn; ``special`` are the tokenizer's control tokens, ``added`` all it has added."""

    def __init__(self, special: Sequence[str], added: Sequence[str]) -> None:
        self._special = re.compile(_any_of(special))
        self._next = re.compile(r"\s*(?:" + _any_of([*special, *added]) + ")")

    def right_after(self, text: str, at: int) -> int | None:
        """Where a token ends that follows ``at`` with at most blanks between."""
        found = self._next.match(text, at)
        return found.end() if found else None

    def first_after(self, text: str, at: int, bound: int) -> int | None:
        """Where the first control token within [at, bound) ends."""
        found = self._special.search(text, at, bound)
        return found.end() if found else None


def place_turns(conversation: Conversation, render: Render, ends: TurnEnds) -> Placed:
    """Render the conversation and find what of it is learned.

    Costs one rendering of the whole and one of the messages before each assistant turn: quadratic in the number of
    turns, some 20 µs a short rendering. Raises :class:`RowError` when the template refuses the conversation.
    """
    return _Placing(conversation, render, ends).placed()


def target_strings(message: Message) -> tuple[str, ...]:
    """The text of an assistant turn that the model is to learn, in the order templates write it; blank text is none."""
    content = message.get("content", "")
    return tuple(text for text in (reasoning_of(message), content) if text.strip())


class _Placing:
    """The work on one conversation."""

    def __init__(self, conversation: Conversation, render: Render, ends: TurnEnds) -> None:
        self._messages = conversation.messages
        self._learned = conversation.learned
        self._tools = conversation.tools
        self._render = render
        self._ends = ends
        self._text = render(self._messages, tools=self._tools)
        self._starts = {turn: self._start_by_prefix(turn) for turn in self._turns()}

    def placed(self) -> Placed:
        spans: list[Span] = []
        targets: list[str] = []
        lost: list[str] = []
        ends: dict[str, None] = {}
        unplaced = unended = cursor = 0
        for turn, message in enumerate(self._messages):
            if turn not in self._starts:
                cursor = self._past(message, cursor)
                continue
            pieces, start = self._pieces(turn, cursor)
            lost.extend(piece for piece, at in pieces if at is None)
            found = [(piece, at) for piece, at in pieces if at is not None]
            begin = start if start is not None else self._start_by_content(turn, cursor, found)
            if begin is None:
                unplaced += 1
                continue
            stop, end_token = self._stop(turn, begin, found)
            unended += end_token == ""
            ends |= {end_token: None} if end_token else {}
            spans.append((begin, stop))
            targets.extend(piece for piece, _ in found)
            cursor = stop
        return Placed(self._text, tuple(spans), tuple(targets), tuple(lost), unplaced, unended, tuple(ends))

    def _turns(self) -> Iterator[int]:
        """The turns that have something to learn."""
        for turn, (message, learned) in enumerate(zip(self._messages, self._learned, strict=True)):
            if learned and (target_strings(message) or message.get("tool_calls")):
                yield turn

    def _rendered(self, turn: int, *, add_generation_prompt: bool) -> str | None:
        try:
            return self._render(self._messages[:turn], add_generation_prompt, tools=self._tools) if turn else None
        except RowError:
            return None

    def _start_by_prefix(self, turn: int) -> int | None:
        """The end of the generation prompt, when the rendering of what comes before is how the whole begins."""
        before = self._rendered(turn, add_generation_prompt=True)
        return len(before) if before and self._text.startswith(before) else None

    def _bound(self, turn: int) -> int:
        """A place that the turn certainly ends before: what is said after it may repeat its words."""
        later = ((other, start) for other, start in self._starts.items() if other > turn and start is not None)
        following, bound = next(later, (len(self._messages), len(self._text)))
        for message in reversed(self._messages[turn + 1 : following]):
            content = message.get("content", "").strip()
            place = self._text.rfind(content, 0, bound) if content else -1
            bound = bound if place < 0 else place
        return bound

    def _past(self, message: Message, cursor: int) -> int:
        """Where a message that is not learned ends, if its content is found; else the cursor."""
        content = message.get("content", "").strip()
        at = self._text.find(content, cursor) if content else -1
        return cursor if at < 0 else at + len(content)

    def _pieces(self, turn: int, cursor: int) -> tuple[list[tuple[str, int | None]], int | None]:
        """The turn's target text as it stands in the rendering, each piece with its place or None, and the start."""
        start = self._starts[turn]
        at = cursor if start is None else start
        bound = self._bound(turn)
        pieces: list[tuple[str, int | None]] = []
        for target in target_strings(self._messages[turn]):
            for piece, place in _find(self._text, target, at, bound):
                pieces.append((piece, place))
                at = at if place is None else place + len(piece)
        for name in tool_names_of(self._messages[turn]):
            place = self._text.find(name, at, bound)
            pieces.append((name, None if place < 0 else place))
            at = at if place < 0 else place + len(name)
        return pieces, start

    def _start_by_content(self, turn: int, cursor: int, found: Sequence[tuple[str, int]]) -> int | None:
        """Right after the generation prompt that stands before the turn's text, else where the text begins."""
        if not found:
            return None
        first = found[0][1]
        prompt = self._generation_prompt(turn)
        at = self._text.rfind(prompt, cursor, first) if prompt else -1
        return first if at < 0 else at + len(prompt)

    def _generation_prompt(self, turn: int) -> str:
        """What the template adds to ask for an answer at this place."""
        asked = self._rendered(turn, add_generation_prompt=True) or ""
        told = self._rendered(turn, add_generation_prompt=False) or ""
        return asked[_common_prefix(asked, told) :]

    def _stop(self, turn: int, begin: int, found: Sequence[tuple[str, int]]) -> tuple[int, str]:
        """(where the span ends, the token that ends it or "")."""
        after = max((at + len(piece) for piece, at in found), default=begin)
        stop = None
        if found and not self._messages[turn].get("tool_calls"):
            stop = self._ends.right_after(self._text, after)
        else:
            whole = self._rendered(turn + 1, add_generation_prompt=False)
            if whole and self._text.startswith(whole) and len(whole) > after:
                after = self._before_last_end(whole, after)
            stop = self._ends.first_after(self._text, after, self._bound(turn))
        if stop is None:
            return after, ""
        return stop, self._text[after:stop].strip()

    def _before_last_end(self, whole: str, after: int) -> int:
        """Move on to the last control token of the turn: calls may stand between control tokens of their own."""
        at = after
        while (end := self._ends.first_after(self._text, at, len(whole))) is not None:
            if not self._text[end : len(whole)].strip():
                return at
            at = end
        return after


def _find(text: str, target: str, at: int, bound: int) -> list[tuple[str, int | None]]:
    """Where a target stands: at its first place, with the blanks at its ends or without, or cut after its thinking."""
    bare = target.strip()
    place = text.find(bare, at, bound)
    if place >= 0:
        whole = place - target.index(bare)
        return [(target, whole) if whole >= at and text.startswith(target, whole) else (bare, place)]
    thinking, mark, answer = (part.strip() for part in target.partition(_THINK_END))
    if not mark:
        return [(target, None)]
    thought = thinking.removeprefix("<think>").strip()
    # The answer comes last; thinking that the template dropped may still be found within it.
    answered = text.rfind(answer, at, bound) if answer else bound
    reasoned = text.find(thought, at, max(answered, at)) if thought else -1
    pieces = ((thought, reasoned), (answer, answered))
    return [(piece, None if place < 0 else place) for piece, place in pieces if piece]


def _common_prefix(first: str, second: str) -> int:
    length = min(len(first), len(second))
    return next((i for i in range(length) if first[i] != second[i]), length)


def _any_of(tokens: Sequence[str]) -> str:
    """A pattern for any of the tokens, the longest first; for none, a pattern that never matches."""
    return "|".join(re.escape(token) for token in sorted(set(tokens), key=len, reverse=True)) or "(?!)"
