from __future__ import annotations

import pytest

from backprop.plan.data.compared import compared_text, content_digest, content_hash, digests_of, normalised
from backprop.plan.data.conversation import Conversation, Example, Pair, Passage


def conversation(*turns: tuple[str, str], **more: object) -> Conversation:
    messages = tuple({"role": role, "content": content} for role, content in turns)
    return Conversation((*messages[:-1], {**messages[-1], **more}), (False,) * len(messages))


@pytest.mark.parametrize(
    ("example", "text"),
    [
        (conversation(("system", "Be kind."), ("user", "Hello  you"), ("assistant", "Hi")), "hello you\nhi"),
        (conversation(("user", "a"), ("tool", "42"), ("assistant", " ")), "a"),
        (conversation(("user", "2+2"), ("assistant", "4"), reasoning_content="Two and two"), "2+2\ntwo and two\n4"),
        (Pair("One ", "two"), "one\ntwo"),
        (Passage("All\nof it"), "all of it"),
        (Passage("  "), ""),
    ],
)
def test_what_is_said_is_compared_line_by_line(example: Example, text: str) -> None:
    assert compared_text(example) == text


def test_tools_are_not_compared_but_calls_are() -> None:
    def calling(city: str) -> Conversation:
        call = {"function": {"name": "weather", "arguments": {"unit": "C", "city": city}}}
        messages = ({"role": "user", "content": "And now?"}, {"role": "assistant", "tool_calls": [call]})
        return Conversation(messages, (False, True), tools=({"name": city},))

    assert compared_text(calling("Oslo")) == 'and now?\nweather {"city": "oslo", "unit": "c"}'
    assert compared_text(calling("Oslo")) != compared_text(calling("Bergen"))


@pytest.mark.parametrize(
    ("text", "same"),
    [("Ａｂｃ", "abc"), ("e\u0301TÉ", "été"), ("a\u00a0b\u3000c", "a b c"), ("İ", "i\u0307"), ("\ufb01ne", "fine")],
)
def test_forms_of_the_same_letters_are_equal(text: str, same: str) -> None:
    assert normalised(text) == normalised(same)


def test_a_digest_is_sixteen_bytes_whatever_the_text() -> None:
    texts = ["", "a", "\ud800", "日" * 1000]
    assert digests_of(texts) == b"".join(map(content_digest, texts))
    assert len(digests_of(texts)) == 16 * len(texts)
    assert len(set(map(content_digest, texts))) == len(texts)


def test_rows_that_differ_in_case_blanks_or_the_system_prompt_have_one_hash() -> None:
    rows = [
        conversation(("user", "Hello you"), ("assistant", "Hi")),
        conversation(("user", "hello  YOU "), ("assistant", "hi")),
        conversation(("system", "Be kind."), ("user", "Hello you"), ("assistant", "Hi")),
    ]
    assert len({content_hash(row, seed=7) for row in rows}) == 1
    assert content_hash(rows[0], seed=7) != content_hash(rows[0], seed=8)
    assert content_hash(rows[0], seed=7) != content_hash(conversation(("user", "Hello you")), seed=7)
