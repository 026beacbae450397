"""From the normal form back to rows of a layout."""

from __future__ import annotations

import pytest

from backprop.plan.data.conversation import Conversation, Example, Pair, Passage, Preference, Rated, RowError
from backprop.plan.data.converting import Target, convert_example
from backprop.plan.data.layout import Layout
from backprop.plan.data.rows import read_row

ASKED = {"role": "user", "content": "Where?"}
ANSWERED = {"role": "assistant", "content": "Here."}
CHAT = Conversation((ASKED, ANSWERED), (False, True))


@pytest.mark.parametrize(
    ("target", "row"),
    [
        (Target.OPENAI, {"messages": [ASKED, ANSWERED]}),
        (Target.SHAREGPT, {"conversations": [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "Here."}]}),
        (Target.ALPACA, {"instruction": "Where?", "input": "", "output": "Here."}),
    ],
)
def test_a_question_and_its_answer_stand_in_every_layout(target: Target, row: dict[str, object]) -> None:
    assert convert_example(CHAT, target) == row
    assert convert_example(Pair("Where?", "Here."), target) == row


def test_openai_holds_tools_calls_reasoning_and_answers_that_are_not_learned() -> None:
    call = {"function": {"name": "look", "arguments": {"at": "map"}}}
    turns = (ASKED, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "x", "name": "look"})
    last = {**ANSWERED, "reasoning_content": "hm"}
    chat = Conversation((*turns, last), (False, False, False, True), ({"name": "look"},))
    row = convert_example(chat, Target.OPENAI)
    assert row["messages"][1]["weight"] == 0
    assert read_row(row, Layout.OPENAI, text_column="text") == chat


def test_a_system_prompt_has_a_key_of_its_own_in_alpaca() -> None:
    chat = Conversation(({"role": "system", "content": "Be brief."}, ASKED, ANSWERED), (False, False, True))
    assert convert_example(chat, Target.ALPACA)["system"] == "Be brief."


@pytest.mark.parametrize(
    ("example", "target", "says"),
    [
        (Passage("once"), Target.OPENAI, "raw text has no turns"),
        (Preference(CHAT, CHAT), Target.OPENAI, "a preference"),
        (Rated(CHAT, label=True), Target.SHAREGPT, "a rating"),
        (Conversation((ASKED, ANSWERED), (False, False)), Target.ALPACA, "not to be learned"),
        (Conversation((ASKED, ANSWERED, ASKED, ANSWERED), (False, True) * 2), Target.ALPACA, "user, assistant, user"),
        (Conversation((ASKED, ANSWERED), (False, True), ({"name": "f"},)), Target.ALPACA, "tools"),
        (Conversation((ASKED, {**ANSWERED, "reasoning": "hm"}), (False, True)), Target.SHAREGPT, "reasoning"),
        (Conversation(({"role": "developer", "content": "x"}, ANSWERED), (False, True)), Target.SHAREGPT, "developer"),
    ],
)
def test_what_a_layout_cannot_hold_is_refused(example: Example, target: Target, says: str) -> None:
    with pytest.raises(RowError, match=says):
        convert_example(example, target)
