"""What is measured of one example."""

from __future__ import annotations

from backprop.plan.data.conversation import Conversation, Pair, Passage, Preference, Rated
from backprop.plan.data.measure import estimated_tokens, num_turns, supervised_parts, traces_of, whole_text


def conversation(*turns: tuple[str, str]) -> Conversation:
    messages = tuple({"role": role, "content": content} for role, content in turns)
    return Conversation(messages, tuple(role == "assistant" for role, _ in turns))


ASKED = conversation(("system", "Be kind."), ("user", "Who?"), ("assistant", "Me."))


def test_the_text_is_all_that_stands_in_an_example() -> None:
    assert whole_text(ASKED) == "Be kind.\nWho?\nMe."
    assert whole_text(Pair("a", "b")) == whole_text(Rated(Pair("a", "b"), True)) == "a\nb"
    assert whole_text(Passage("x")) == "x"


def test_of_a_preference_the_prompt_stands_once_and_both_answers() -> None:
    assert whole_text(Preference(Pair("p", "good"), Pair("p", "bad"))) == "p\ngood\nbad"
    good, bad = conversation(("user", "p"), ("assistant", "good")), conversation(("user", "p"), ("assistant", "bad"))
    assert whole_text(Preference(good, bad)) == "p\ngood\nbad"
    assert supervised_parts(Preference(good, bad)) == (good, bad)


def test_calls_and_reasoning_are_text() -> None:
    call = {"function": {"name": "look_up", "arguments": {"key": "k-1"}}}
    message = {"role": "assistant", "content": "", "reasoning_content": "Hm.", "tool_calls": [call]}
    text = whole_text(Conversation((message,), (True,)))
    assert "Hm." in text
    assert "look_up" in text
    assert "k-1" in text


def test_turns_are_those_of_the_user_and_the_assistant() -> None:
    assert [num_turns(e) for e in (ASKED, Pair("a", "b"), Passage("x"), Rated(ASKED, False))] == [2, 2, 1, 2]


def test_reasoning_stands_between_tags_or_beside_an_answer() -> None:
    tagged = conversation(("user", "?"), ("assistant", "<think>one two</think>3<think> </think><think>four"))
    assert traces_of(tagged, whole_text(tagged)) == ("one two",)
    beside = Conversation(({"role": "assistant", "content": "3", "thinking": "one"},), (True,))
    assert traces_of(beside, whole_text(beside)) == ("one",)
    assert traces_of(ASKED, whole_text(ASKED)) == ()


def test_a_token_is_estimated_for_every_four_bytes_and_none_for_nothing() -> None:
    assert [estimated_tokens(text) for text in ("", "a", "abcd", "abcde", "日本語")] == [0, 1, 1, 2, 3]
