"""Rows as files hold them, in every layout: valid by construction, or with anything in the place of anything."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from backprop.plan.data.layout import PROMPT_KEYS, Layout

Row = dict[str, Any]

_WORDS = (
    "yes",
    "No.",
    "4",
    "naïve",
    "你好",
    "שלום",
    "🎉",
    "e\u0301",
    "{x}",
    "a\\b",
    '"so"',
    "</b>",
    "[1]",
    "<i>",
    "|>",
)
_BLANKS = (" ", "\n", "\t", "\r\n", "\u00a0")
_TRAPS = (
    *("<|im_start|>", "<|eot_id|>", "<s>", "</s>", "[INST]", "[/INST]", "<start_of_turn>", "<<SYS>>", "<unk>"),
    *("<think>", "</think>", "\x00", "\x1b", "\x08", "\x0c", "\x7f", "\x85", "\u2028", "\ud83d", "<｜User｜>", "INST]"),
)
"""Pieces that text checks look for, and some that only look like them."""


def plain_texts() -> st.SearchStrategy[str]:
    """Text that is not blank and in which nothing is found; it begins with a letter, so that it is no list."""
    parts = st.sampled_from(_WORDS) | st.sampled_from(_BLANKS)
    return st.lists(parts, max_size=5).map(lambda found: "A" + " ".join(found))


def any_texts() -> st.SearchStrategy[str]:
    """Text with anything in it; it may be blank."""
    parts = st.sampled_from(_WORDS) | st.sampled_from(_BLANKS) | st.sampled_from(_TRAPS) | st.text(max_size=3)
    return st.lists(parts, max_size=5).map("".join)


@st.composite
def valid_rows(draw: st.DrawFn, layout: Layout) -> Row:
    """A row of a layout in which nothing is wrong."""
    return draw(_MAKERS[layout](plain_texts()))


@st.composite
def any_rows(draw: st.DrawFn, layout: Layout) -> Any:
    """A row that begins as one of ``layout`` with any text, and of which any part may be missing or replaced."""
    row = draw(_MAKERS[layout](any_texts() | plain_texts()))
    for _ in range(draw(st.integers(0, 2))):
        _damage(draw, row)
    return row


def _turns(
    texts: st.SearchStrategy[str],
    names: tuple[str, str] = ("role", "content"),
    roles: tuple[str, str] = ("user", "assistant"),
) -> st.SearchStrategy[list[Row]]:
    """User and assistant in turn, after a system prompt or none."""

    def turn(role: str, text: str) -> Row:
        return {names[0]: role, names[1]: text}

    exchanges = st.lists(st.tuples(texts, texts), min_size=1, max_size=3)
    spoken = exchanges.map(
        lambda found: [turn(role, text) for pair in found for role, text in zip(roles, pair, strict=True)]
    )
    return st.tuples(st.none() | texts, spoken).map(
        lambda found: found[1] if found[0] is None else [turn("system", found[0]), *found[1]]
    )


def _openai(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries({"messages": _turns(texts)}, optional={"id": st.integers()})


def _sharegpt(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries({"conversations": _turns(texts, ("from", "value"), ("human", "gpt"))})


def _alpaca(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Row]:
    required = {"instruction": texts, "output": texts}
    return st.fixed_dictionaries(required, optional={"input": st.just("") | texts, "system": texts})


def _completion(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries({"prompt": texts, "completion": texts}, optional={"system": st.just("") | texts})


def _chatml(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Row]:
    def written(turns: list[Row]) -> Row:
        return {"text": "".join(f"<|im_start|>{t['role']}\n{t['content']}<|im_end|>\n" for t in turns)}

    return _turns(texts).map(written)


def _raw(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries({"text": texts})


def _preference(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Row]:
    strings = st.builds(
        lambda asked, beside, answers: {**asked, **beside, **answers},
        st.sampled_from(PROMPT_KEYS).flatmap(lambda key: st.fixed_dictionaries({key: texts})),
        st.fixed_dictionaries({}, optional={"system": st.just("") | texts, "input": st.just("") | texts}),
        st.fixed_dictionaries({"chosen": texts.map("B ".__add__), "rejected": texts}),
    )
    question = texts.map(lambda text: [{"role": "user", "content": text}])

    def of_turns(found: tuple[list[Row], str, str]) -> Row:
        asked, good, bad = found
        answers = {"chosen": "B " + good, "rejected": bad}
        return {key: [*asked, {"role": "assistant", "content": text}] for key, text in answers.items()}

    return strings | st.tuples(question, texts, texts).map(of_turns)


def _kto(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries(
        {"prompt": texts, "completion": texts, "label": st.booleans() | st.sampled_from((0, 1))}
    )


_MAKERS = {
    Layout.OPENAI: _openai,
    Layout.SHAREGPT: _sharegpt,
    Layout.ALPACA: _alpaca,
    Layout.COMPLETION: _completion,
    Layout.CHATML: _chatml,
    Layout.RAW: _raw,
    Layout.PREFERENCE: _preference,
    Layout.KTO: _kto,
}

_ODD: tuple[Any, ...] = (
    None,
    "",
    " ",
    7,
    True,
    [],
    {},
    ["x"],
    "[]",
    '[{"role": "user", "content": "x"}]',
    {"role": "user"},
)
_KEYS = ("messages", "conversations", "instruction", "output", "input", "prompt", "completion", "response", "label")
_MORE_KEYS = ("chosen", "rejected", "question", "text", "system", "tools", "weight", "tool_calls", "name", "thinking")
_TURN_KEYS = ("role", "content", "from", "value")


def _damage(draw: st.DrawFn, row: Row) -> None:
    """Take away, replace or add one value of the row or of one of its turns."""
    parts = [
        row,
        *(turn for value in row.values() if isinstance(value, list) for turn in value if isinstance(turn, dict)),
    ]
    part = draw(st.sampled_from(parts))
    odd = st.sampled_from(_ODD) | st.sampled_from(("user", "assistant", "system", "tool", "x")) | any_texts()
    if part and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(part)))
        if draw(st.booleans()):
            del part[key]
            return
    else:
        key = draw(st.sampled_from((*_KEYS, *_MORE_KEYS, *_TURN_KEYS)))
    part[key] = draw(odd)
