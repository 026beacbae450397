from __future__ import annotations

import json
from typing import Any

import pytest

from backprop.plan.data.conversation import Conversation, Pair, Passage, Preference, Rated, RowError
from backprop.plan.data.layout import Layout, layout_of
from backprop.plan.data.rows import read_row

ASKED = {"role": "user", "content": "2+2?"}
ANSWERED = {"role": "assistant", "content": "4"}
PLAIN = Conversation((ASKED, ANSWERED), (False, True))
WITH_SYSTEM = Conversation(({"role": "system", "content": "Be brief."}, ASKED, ANSWERED), (False, False, True))

FROM_HUMAN, FROM_GPT = {"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}

ROWS: tuple[tuple[Any, Layout, Any], ...] = (
    ({"messages": [ASKED, ANSWERED]}, Layout.OPENAI, PLAIN),
    ({"messages": json.dumps([ASKED, ANSWERED])}, Layout.OPENAI, PLAIN),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}, ANSWERED]}, Layout.OPENAI, PLAIN),
    ({"conversations": [FROM_HUMAN, FROM_GPT]}, Layout.SHAREGPT, PLAIN),
    ({"conversation": [FROM_HUMAN, FROM_GPT]}, Layout.SHAREGPT, PLAIN),
    ({"system": "Be brief.", "conversations": [FROM_HUMAN, FROM_GPT]}, Layout.SHAREGPT, WITH_SYSTEM),
    ({"instruction": "2+2?", "output": "4"}, Layout.ALPACA, PLAIN),
    ({"instruction": "2+2?", "input": "", "output": "4"}, Layout.ALPACA, PLAIN),
    ({"instruction": "2+2?", "input": None, "response": "4"}, Layout.ALPACA, PLAIN),
    ({"system": "Be brief.", "instruction": "2+2?", "output": "4"}, Layout.ALPACA, WITH_SYSTEM),
    ({"prompt": "2+2?", "completion": "4"}, Layout.COMPLETION, Pair("2+2?", "4")),
    ({"prompt": "2+2?", "response": "4"}, Layout.COMPLETION, Pair("2+2?", "4")),
    ({"prompt": [ASKED], "completion": [ANSWERED]}, Layout.COMPLETION, PLAIN),
    (
        {"text": "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"},
        Layout.CHATML,
        PLAIN,
    ),
    ({"text": "Call me Ishmael."}, Layout.RAW, Passage("Call me Ishmael.")),
    ("Call me Ishmael.", Layout.RAW, Passage("Call me Ishmael.")),
)


@pytest.mark.parametrize(("row", "layout", "example"), ROWS)
def test_every_layout_is_told_and_read(row: Any, layout: Layout, example: Any) -> None:
    assert layout_of(row, text_column="text") is layout
    assert read_row(row, layout, text_column="text") == example


def conversation(row: dict[str, Any], layout: Layout) -> Conversation:
    example = read_row(row, layout, text_column="text")
    assert isinstance(example, Conversation)
    return example


def test_an_instruction_and_its_input_are_one_question() -> None:
    row = {"instruction": "Add.", "input": "2, 2", "output": "4"}
    assert conversation(row, Layout.ALPACA).messages[0]["content"] == "Add.\n\n2, 2"


def test_another_text_column_is_read_when_it_is_named() -> None:
    assert layout_of({"body": "x"}, text_column="text") is None
    assert read_row({"body": "x"}, Layout.RAW, text_column="body") == Passage("x")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Add.\n\n2, 2"},
        {"prompt": "Add.\n\n2, 2", "question": "Another?"},
        {"prompt": None, "question": "Add.\n\n2, 2"},
        {"instruction": "Add.", "input": "2, 2"},
    ],
)
@pytest.mark.parametrize("system", [None, "", "Be brief."])
def test_both_answers_follow_the_question_under_each_of_its_names(row: dict[str, Any], system: str | None) -> None:
    example = read_row({**row, "system": system, "chosen": "4", "rejected": "5"}, Layout.PREFERENCE, text_column="text")
    assert isinstance(example, Preference)
    for side, answer in ((example.chosen, "4"), (example.rejected, "5")):
        if not system:
            assert side == Pair("Add.\n\n2, 2", answer)
            continue
        assert isinstance(side, Conversation)
        assert [message["content"] for message in side.messages] == [system, "Add.\n\n2, 2", answer]
        assert side.learned == (False, False, True)


def test_a_system_prompt_beside_prompt_and_answer_is_read() -> None:
    row = {"system": "Be brief.", "prompt": "2+2?", "completion": "4"}
    assert read_row(row, Layout.COMPLETION, text_column="text") == WITH_SYSTEM
    assert read_row({**row, "label": True}, Layout.KTO, text_column="text") == Rated(WITH_SYSTEM, True)


def test_preferences_and_ratings_are_told_from_pairs() -> None:
    assert layout_of({"prompt": "a", "chosen": "b", "rejected": "c"}, text_column="text") is Layout.PREFERENCE
    assert layout_of({"prompt": "a", "completion": "b", "label": False}, text_column="text") is Layout.KTO


def test_a_turn_of_weight_zero_is_not_learned() -> None:
    turns = [ASKED, {**ANSWERED, "weight": 0}, ASKED, {**ANSWERED, "weight": 1}]
    example = conversation({"messages": turns}, Layout.OPENAI)
    assert example.learned == (False, False, False, True)
    assert example.messages[1] == ANSWERED


def test_reasoning_tools_and_calls_are_kept() -> None:
    call = {"id": "1", "function": {"name": "add", "arguments": '{"a": 2}'}}
    turns = [ASKED, {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [call]}]
    example = conversation({"messages": turns, "tools": [{"name": "add"}]}, Layout.OPENAI)
    assert example.tools == ({"name": "add"},)
    assert example.messages[1]["reasoning_content"] == "Hm."
    assert example.messages[1]["tool_calls"] == [{"id": "1", "function": {"name": "add", "arguments": {"a": 2}}}]


@pytest.mark.parametrize(
    ("row", "layout", "words"),
    [
        (
            {"messages": [{"role": "asistant", "content": "x"}]},
            Layout.OPENAI,
            ('"asistant" (did you mean "assistant"?)',),
        ),
        ({"messages": [ASKED, {"role": "assistant"}]}, Layout.OPENAI, ('turn 2 has no content: "content" is missing',)),
        ({"messages": []}, Layout.OPENAI, ("the conversation is empty",)),
        ({"messages": "hello"}, Layout.OPENAI, ('"messages" is text, not a list of turns',)),
        ({"messages": ["hello"]}, Layout.OPENAI, ("turn 1 is text",)),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, Layout.OPENAI, ("not text",)),
        ({"messages": [{"role": None, "content": "x"}]}, Layout.OPENAI, ('turn 1 has no role: "role" is null',)),
        ({"messages": [{**ANSWERED, "tool_calls": [{"name": "add"}]}]}, Layout.OPENAI, ("turn 1 has tool calls",)),
        ({"instruction": "x", "output": 4}, Layout.ALPACA, ('"output" is a number, not text',)),
        ({"prompt": "x", "completion": None}, Layout.COMPLETION, ('"completion" is null',)),
        ({"prompt": "x"}, Layout.COMPLETION, ('"completion" is missing',)),
        ({"messages": None}, Layout.OPENAI, ('"messages" is null',)),
        ({"text": "x"}, Layout.OPENAI, ('"messages" is missing',)),
        ({"text": "before <|im_start|>user\nx<|im_end|>"}, Layout.CHATML, ("outside its turns", "before")),
        ({"text": " \n"}, Layout.RAW, ('"text" is empty',)),
        (17, Layout.OPENAI, ("this is a number",)),
    ],
)
def test_a_row_that_cannot_be_used_says_why(row: Any, layout: Layout, words: tuple[str, ...]) -> None:
    with pytest.raises(RowError) as refusal:
        read_row(row, layout, text_column="text")
    assert all(word in str(refusal.value) for word in words)
