"""A chat template as the texts around each turn, found by asking the template; and those as a template of Ollama's.

Ollama's templates are Go's, the models' are Jinja's. Programs are not translated: the Jinja template is rendered on
conversations whose contents are easily found again, what stands between them is taken over, and the result must write
the same prompts as the template did, or there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import attrs

from backprop.plan.data.conversation import RowError

Messages: TypeAlias = "Sequence[Mapping[str, str]]"
Render: TypeAlias = "Callable[[Messages, bool], str]"
"""The chat template: messages, and whether the beginning of an answer is added. Raises ``RowError`` for a refusal."""

_SYSTEM, _USER, _ANSWER, _AGAIN = "Xsystem7X", "Xuser7X", "Xanswer7X", "Xagain7X"


@attrs.frozen
class TurnFormat:
    """What is written around the contents of a conversation."""

    user_before: str
    user_after: str
    assistant_before: str
    assistant_after: str
    generation: str
    """After the last turn, so that an answer begins."""
    prefix: str = ""
    """Before everything."""
    system_before: str = ""
    system_after: str = ""
    folded: str | None = None
    """Between the system prompt and the first user's content, for templates that write both in one turn."""
    without_system: str = ""
    """In the place of a system turn when there is none."""
    default_system: str | None = None
    """The system prompt of conversations that bring none."""

    def write(self, messages: Messages) -> str:
        """The prompt for an answer to ``messages``, whose system prompt comes first if there is one."""
        system = next((m["content"] for m in messages if m["role"] == "system"), self.default_system)
        turns = [m for m in messages if m["role"] != "system"]
        text = self.prefix
        if self.folded is None:
            text += self.without_system if system is None else self.system_before + system + self.system_after
        for index, turn in enumerate(turns):
            folded = "" if index or self.folded is None or system is None else system + self.folded
            text += self._turn(turn["role"], folded + turn["content"])
        return text + self.generation

    def _turn(self, role: str, content: str) -> str:
        before, after = {
            "user": (self.user_before, self.user_after),
            "assistant": (self.assistant_before, self.assistant_after),
        }[role]
        return before + content + after


@attrs.frozen
class NoTurnFormat:
    """Why a template cannot be taken apart."""

    reason: str


def derive_turns(render: Render, *, bos: str = "") -> TurnFormat | NoTurnFormat:
    """The turns of a template, or why it has none that Ollama's language can write.

    ``bos`` is the token that the tokenizer puts before every text by itself; it is taken off.
    """

    def plain(messages: Messages, generation: bool = True) -> str:
        return render(messages, generation).removeprefix(bos)

    try:
        found = _taken_apart(plain)
    except RowError as refusal:
        return NoTurnFormat(f"it refuses an ordinary conversation: {refusal}")
    if found is None:
        return NoTurnFormat("what it writes around a turn depends on more than the turn's role")
    for name, messages in _CONVERSATIONS:
        try:
            wanted = plain(messages)
        except RowError:
            continue  # what the template refuses was never trained on
        if found.write(messages) != wanted:
            return NoTurnFormat(f"{name} is not written as the sum of its turns")
    return found


def _taken_apart(render: Callable[..., str]) -> TurnFormat | None:
    user, answer, again = _message("user", _USER), _message("assistant", _ANSWER), _message("user", _AGAIN)
    asked, whole = _parts(render([user], False), _USER), _parts(render([user, answer, again]), _USER, _ANSWER, _AGAIN)
    ended = _parts(render([user, answer], False), _ANSWER)
    if asked is None or whole is None or ended is None:
        return None
    head, between, onward, tail = whole
    user_after, assistant_after = asked[1], ended[1]
    if not onward.startswith(assistant_after):
        # The last answer ends otherwise than one in the middle; those in the middle are the ones in a prompt.
        assistant_after = onward.removesuffix(head)
    user_before = onward.removeprefix(assistant_after)
    fits = (
        asked[0] == head
        and head.endswith(user_before)
        and between.startswith(user_after)
        and tail.startswith(user_after)
    )
    if not fits:
        return None
    turns = TurnFormat(
        user_before=user_before,
        user_after=user_after,
        assistant_before=between.removeprefix(user_after),
        assistant_after=assistant_after,
        generation=tail.removeprefix(user_after),
    )
    return _with_system(render, turns, head)


def _with_system(render: Callable[..., str], turns: TurnFormat, head: str) -> TurnFormat | None:
    """``head`` is what stands before the first user's content when there is no system prompt."""
    opening = head.removesuffix(turns.user_before)
    try:
        told = _parts(render([_message("system", _SYSTEM), _message("user", _USER)]), _SYSTEM, _USER)
    except RowError:
        told = None
    if told is None:
        # A system prompt is not foreseen; where somebody sends one all the same, it is better read than lost.
        return attrs.evolve(turns, prefix=opening, folded="\n\n")
    before, between, _ = told
    if before == head and not between.endswith(turns.user_before):
        return attrs.evolve(turns, prefix=opening, folded=between)
    if not between.endswith(turns.user_before):
        return None
    after = between[: len(between) - len(turns.user_before)]
    turns = attrs.evolve(turns, system_before=before, system_after=after)
    default = opening[len(before) : len(opening) - len(after)]
    if default and opening == before + default + after:
        return attrs.evolve(turns, default_system=default)
    return attrs.evolve(turns, without_system=opening)


def _parts(text: str, *contents: str) -> tuple[str, ...] | None:
    """What stands around the contents, in order; None unless each stands there once."""
    parts = []
    for content in contents:
        if text.count(content) != 1:
            return None
        before, _, text = text.partition(content)
        parts.append(before)
    return (*parts, text)


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _conversation(*turns: str) -> tuple[dict[str, str], ...]:
    """``system:``, ``user:`` and ``assistant:`` before each content."""
    return tuple(_message(*turn.split(":", 1)) for turn in turns)


_CONVERSATIONS: tuple[tuple[str, Messages], ...] = (
    ("a question", _conversation("user:What is it?")),
    ("a question with a system prompt", _conversation("system:Be brief.", "user:What is it?")),
    ("a longer conversation", _conversation("user:One.", "assistant:Two.", "user:Three,\n\nand four: {{ x }} 'é'")),
    (
        "a longer conversation with a system prompt",
        _conversation("system:Be kind.\nBe brief.", "user:a", "assistant:b", "user:c", "assistant:d", "user:e"),
    ),
)
"""Prompts that both must write alike."""


def go_template(turns: TurnFormat) -> str:
    """The turns as a template of Ollama's: Go's text/template over ``.System`` and ``.Messages``.

    An answer that was begun is gone on with: the last turn's end and the beginning of an answer are left out then.
    """
    system = "" if turns.folded is not None else _branch("system", turns.system_before, turns.system_after)
    nothing = turns.without_system
    folded = ""
    if turns.folded is not None:
        # The system prompt, when there is one, is message 0, so that message 1 is the first user's.
        folded = f"{{{{ if and $.System (eq $i 1) }}}}{{{{ $.System }}}}{_literal(turns.folded)}{{{{ end }}}}"
    return (
        _literal(turns.prefix)
        + (f"{{{{ if not .System }}}}{_literal(nothing)}{{{{ end }}}}" if nothing else "")
        + "{{ range $i, $m := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
        + system
        + _branch("user", turns.user_before, turns.user_after, folded)
        + f'{{{{ if eq $m.Role "assistant" }}}}{_literal(turns.assistant_before)}{{{{ $m.Content }}}}'
        + f"{{{{ if not $last }}}}{_literal(turns.assistant_after)}{{{{ end }}}}{{{{ end }}}}"
        + (
            f'{{{{ if and $last (ne $m.Role "assistant") }}}}{_literal(turns.generation)}{{{{ end }}}}'
            if turns.generation
            else ""
        )
        + "{{ end }}"
    )


def _branch(role: str, before: str, after: str, inserted: str = "") -> str:
    condition = f'{{{{ if eq $m.Role "{role}" }}}}'
    return f"{condition}{_literal(before)}{inserted}{{{{ $m.Content }}}}{_literal(after)}{{{{ end }}}}"


def _literal(text: str) -> str:
    """Text that Go's templates write as it is: they know no escape for their own braces but a string."""
    return text.replace("{", '{{ "{" }}')


def stop_tokens(turns: TurnFormat, *, special: Sequence[str], eos: str | None) -> tuple[str, ...]:
    """What ends an answer: the special token that the template writes after one, and the end-of-sequence token."""
    after = turns.assistant_after.lstrip()
    ending = max((token for token in special if token and after.startswith(token)), key=len, default=None)
    return tuple(dict.fromkeys(token for token in (ending, eos) if token))
