"""Each check, by one change to a row that is fine: what is found, at which key, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from backprop.plan.data.certain import is_plain_line, is_usual_row
from backprop.plan.data.check import CHECKS, Check
from backprop.plan.data.judge import RowJudge
from backprop.plan.data.layout import Layout
from backprop.plan.decision import Severity

Row = dict[str, Any]

FINE: dict[Layout, Row] = {
    Layout.OPENAI: {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "1+1?"},
            {"role": "assistant", "content": "<think>One and one.</think>2"},
            {"role": "user", "content": "And 2+2?"},
            {"role": "assistant", "content": "4"},
        ]
    },
    Layout.SHAREGPT: {
        "system": "Be brief.",
        "conversations": [{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}],
    },
    Layout.ALPACA: {"instruction": "Add.", "input": "1, 1", "output": "2"},
    Layout.COMPLETION: {"prompt": "1+1=", "completion": "2"},
    Layout.CHATML: {"text": "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>"},
    Layout.RAW: {"text": "Call me Ishmael."},
    Layout.PREFERENCE: {"prompt": "1+1?", "chosen": "2", "rejected": "3"},
    Layout.KTO: {"prompt": "1+1?", "completion": "2", "label": True},
}
ASKED, GOOD, BAD = ({"role": r, "content": c} for r, c in (("user", "1+1?"), ("assistant", "2"), ("assistant", "3")))
BLANK: Row = {**GOOD, "content": ""}
UNASKED: Row = {**ASKED, "content": ""}
OTHER_FINE: tuple[tuple[Layout, Row], ...] = (
    (Layout.PREFERENCE, {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}),
    (Layout.PREFERENCE, {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]}),
    (Layout.PREFERENCE, {"prompt": "1+1?", "chosen": [GOOD], "rejected": [BAD]}),
    (Layout.PREFERENCE, {"prompt": "1+1?", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}),
    (Layout.PREFERENCE, {"chosen": "Human: 1+1? Assistant: 2", "rejected": "Human: 1+1? Assistant: 3"}),
    (Layout.PREFERENCE, {"system": "", "question": "1+1?", "chosen": "2", "rejected": "3"}),
    (Layout.PREFERENCE, {"instruction": "Add.", "input": "1, 1", "chosen": "2", "rejected": "3"}),
    (Layout.COMPLETION, {"prompt": [ASKED], "completion": [GOOD]}),
    (Layout.KTO, {"prompt": [ASKED], "completion": [GOOD], "label": 0}),
    *((Layout.KTO, {"prompt": "1+1?", "completion": "2", "label": cell}) for cell in ("true", "FALSE", "1", "0")),
    (Layout.OPENAI, {"messages": [ASKED, {"role": "assistant", "tool_calls": [{"function": {"name": "add"}}]},
                                  {"role": "tool", "content": "2"}, GOOD]}),
)  # fmt: skip

Change = Callable[[Row], object]


def turn(name: str, index: int, **changed: Any) -> Change:
    return lambda row: row[name][index].update(changed)


def put(**changed: Any) -> Change:
    return lambda row: row.update(changed)


def without(*keys: str) -> Change:
    return lambda row: [row.pop(key) for key in keys]


CHANGES: tuple[tuple[Layout, Change, Check, str], ...] = (
    (Layout.OPENAI, put(messages=None), Check.MISSING_KEY, "messages"),
    (Layout.OPENAI, without("messages"), Check.MISSING_KEY, "messages"),
    (Layout.OPENAI, put(messages="x"), Check.WRONG_TYPE, "messages"),
    (Layout.OPENAI, put(messages=[]), Check.EMPTY_ROW, "messages"),
    (Layout.OPENAI, put(messages=["x"]), Check.WRONG_TYPE, "messages[0]"),
    (Layout.OPENAI, turn("messages", 4, role=None), Check.MISSING_KEY, "messages[4].role"),
    (Layout.OPENAI, turn("messages", 4, content=None), Check.MISSING_KEY, "messages[4].content"),
    (Layout.OPENAI, turn("messages", 4, content=7), Check.WRONG_TYPE, "messages[4].content"),
    (Layout.OPENAI, turn("messages", 4, role="asistant"), Check.UNKNOWN_ROLE, "messages[4].role"),
    (Layout.OPENAI, turn("messages", 4, tool_calls=[1]), Check.WRONG_TYPE, "messages[4].tool_calls"),
    (Layout.OPENAI, put(tools=7), Check.WRONG_TYPE, "tools"),
    (Layout.OPENAI, turn("messages", 4, content=" \n"), Check.EMPTY_ASSISTANT, "messages[4].content"),
    (Layout.OPENAI, turn("messages", 3, content=""), Check.EMPTY_USER, "messages[3].content"),
    (Layout.OPENAI, lambda row: row["messages"].append(GOOD), Check.ROLE_ORDER, "messages[5].role"),
    (Layout.OPENAI, turn("messages", 3, role="system"), Check.SYSTEM_INSIDE, "messages[3].role"),
    (Layout.OPENAI, lambda row: row["messages"].pop(), Check.ROLE_ORDER, "messages[3].role"),
    (Layout.OPENAI, lambda row: row["messages"].pop(1), Check.ROLE_ORDER, "messages[1].role"),
    (Layout.OPENAI, turn("messages", 2, content="<think>2"), Check.UNBALANCED_THINK, "messages[2].content"),
    (Layout.OPENAI, turn("messages", 2, content="</think>2"), Check.UNBALANCED_THINK, "messages[2].content"),
    (Layout.OPENAI, turn("messages", 2, content="<think><think>"), Check.UNBALANCED_THINK, "messages[2].content"),
    (Layout.OPENAI, turn("messages", 3, content="a\x1b[0m"), Check.CONTROL_CHARACTER, "messages[3].content"),
    (Layout.OPENAI, turn("messages", 3, content="a\x85"), Check.CONTROL_CHARACTER, "messages[3].content"),
    (Layout.OPENAI, turn("messages", 3, content="a <|eot_id|>"), Check.TEMPLATE_TOKEN, "messages[3].content"),
    (Layout.OPENAI, turn("messages", 4, content="[/INST] a"), Check.TEMPLATE_TOKEN, "messages[4].content"),
    (Layout.OPENAI, turn("messages", 4, content="<start_of_turn>a"), Check.TEMPLATE_TOKEN, "messages[4].content"),
    (Layout.OPENAI, turn("messages", 4, content="a</s>"), Check.TEMPLATE_TOKEN, "messages[4].content"),
    (Layout.OPENAI, turn("messages", 4, content="<｜end▁of▁sentence｜>"), Check.TEMPLATE_TOKEN, "messages[4].content"),
    (Layout.OPENAI, turn("messages", 4, content="a \ud83d"), Check.HALF_CHARACTER, "messages[4].content"),
    (Layout.OPENAI, turn("messages", 4, content="<think>a</think> \n"), Check.ONLY_TRACE, "messages[4].content"),
    (Layout.OPENAI, turn("messages", 4, content="", reasoning_content="Hm."), Check.ONLY_TRACE, "messages[4].content"),
    (Layout.COMPLETION, put(completion="<think>a</think>"), Check.ONLY_TRACE, "completion"),
    (Layout.SHAREGPT, turn("conversations", 1, value=""), Check.EMPTY_ASSISTANT, "conversations[1].value"),
    (Layout.SHAREGPT, turn("conversations", 0, value=""), Check.EMPTY_USER, "conversations[0].value"),
    (Layout.SHAREGPT, lambda row: row["conversations"].pop(), Check.NO_ASSISTANT, "conversations"),
    (Layout.SHAREGPT, put(system="<s>"), Check.TEMPLATE_TOKEN, "system"),
    (Layout.SHAREGPT, turn("conversations", 1, **{"from": "bott"}), Check.UNKNOWN_ROLE, "conversations[1].from"),
    (Layout.SHAREGPT, turn("conversations", 1, weight=0), Check.NO_ASSISTANT, "conversations"),
    (Layout.ALPACA, put(output=""), Check.EMPTY_ASSISTANT, "output"),
    (Layout.ALPACA, put(instruction="", input=""), Check.EMPTY_USER, "instruction"),
    (Layout.ALPACA, without("output"), Check.MISSING_KEY, "output"),
    (Layout.ALPACA, put(output=["2"]), Check.WRONG_TYPE, "output"),
    (Layout.COMPLETION, put(completion=""), Check.EMPTY_ASSISTANT, "completion"),
    (Layout.COMPLETION, put(prompt=" "), Check.EMPTY_USER, "prompt"),
    (Layout.COMPLETION, put(prompt=[ASKED], completion=[BLANK]), Check.EMPTY_ASSISTANT, "completion[0].content"),
    (Layout.COMPLETION, put(prompt=[UNASKED], completion=[GOOD]), Check.EMPTY_USER, "prompt[0].content"),
    (Layout.CHATML, put(text="<|im_start|>user\n1+1?<|im_end|>"), Check.NO_ASSISTANT, "text"),
    (Layout.CHATML, put(text="no turns"), Check.WRONG_TYPE, "text"),
    (Layout.RAW, put(text=" "), Check.EMPTY_ROW, "text"),
    (Layout.RAW, put(text=None), Check.MISSING_KEY, "text"),
    (Layout.RAW, put(text="a\x00"), Check.CONTROL_CHARACTER, "text"),
    (Layout.PREFERENCE, put(rejected=" 2"), Check.EQUAL_PAIR, "rejected"),
    (Layout.PREFERENCE, put(rejected=""), Check.EMPTY_ASSISTANT, "rejected"),
    (Layout.PREFERENCE, put(chosen=None), Check.MISSING_KEY, "chosen"),
    (Layout.PREFERENCE, put(prompt="[INST]"), Check.TEMPLATE_TOKEN, "prompt"),
    (Layout.PREFERENCE, without("prompt"), Check.EMPTY_USER, "prompt"),
    (Layout.PREFERENCE, put(prompt=None, question=" "), Check.EMPTY_USER, "question"),
    (Layout.PREFERENCE, put(prompt=None, question=3), Check.WRONG_TYPE, "question"),
    (Layout.PREFERENCE, put(prompt=None, instruction="a", input=3), Check.WRONG_TYPE, "input"),
    (Layout.PREFERENCE, put(prompt=None, question=[UNASKED], chosen=[GOOD], rejected=[BAD]), Check.EMPTY_USER,
     "question[0].content"),
    (Layout.PREFERENCE, put(system="[INST]"), Check.TEMPLATE_TOKEN, "system"),
    (Layout.PREFERENCE, put(system="a", prompt="[INST]"), Check.TEMPLATE_TOKEN, "prompt"),
    (Layout.PREFERENCE, put(system="a", rejected=""), Check.EMPTY_ASSISTANT, "rejected"),
    (Layout.COMPLETION, put(system="[INST]"), Check.TEMPLATE_TOKEN, "system"),
    (Layout.COMPLETION, put(system="a", prompt=""), Check.EMPTY_USER, "prompt"),
    (Layout.KTO, put(system="a", completion=""), Check.EMPTY_ASSISTANT, "completion"),
    (Layout.PREFERENCE, put(chosen=[ASKED, GOOD], rejected=[ASKED, GOOD]), Check.EQUAL_PAIR, "rejected"),
    (Layout.PREFERENCE, put(chosen=[ASKED, GOOD], rejected=[ASKED]), Check.NO_ASSISTANT, "rejected"),
    (Layout.PREFERENCE, put(chosen=[ASKED, BLANK], rejected=[ASKED, BAD]), Check.EMPTY_ASSISTANT, "chosen[1].content"),
    (Layout.PREFERENCE, put(prompt=[UNASKED], chosen=[GOOD], rejected=[BAD]), Check.EMPTY_USER, "prompt[0].content"),
    (Layout.KTO, put(label="yes"), Check.LABEL, "label"),
    (Layout.KTO, put(label=2), Check.LABEL, "label"),
    (Layout.KTO, put(label=None), Check.MISSING_KEY, "label"),
    (Layout.KTO, without("label"), Check.MISSING_KEY, "label"),
    (Layout.KTO, put(completion=""), Check.EMPTY_ASSISTANT, "completion"),
    (Layout.RAW, put(messages=[ASKED, GOOD]), Check.LAYOUT, ""),
)  # fmt: skip

ELSEWHERE = {
    Check.UNREADABLE: "tests/effects/probe/test_validation.py",
    Check.ENCODING: "tests/effects/probe/test_validation.py",
    Check.ONE_SIDED_LABELS: "tests/effects/probe/test_validation.py",
    Check.MIXED_LAYOUTS: "tests/effects/probe/test_validation.py",
    Check.TOO_LONG: "tests/effects/probe/test_row_lengths.py",
    Check.TEMPLATE_REFUSES: "tests/effects/probe/test_row_lengths.py",
}
"""Checks that take a file, or a model."""


def judged(row: Any, layout: Layout) -> list[tuple[Check, str]]:
    found = RowJudge(layout, True, "text").judge(row, where="rows.jsonl:1", line=1)
    return [(finding.check, finding.key) for finding in found.findings]


def copied(row: Row) -> Row:
    copy: Row = json.loads(json.dumps(row))
    return copy


@pytest.mark.parametrize(("layout", "row"), [*FINE.items(), *OTHER_FINE])
def test_nothing_is_found_in_a_row_that_is_fine(layout: Layout, row: Row) -> None:
    assert judged(row, layout) == []


@pytest.mark.parametrize(("layout", "change", "check", "key"), CHANGES)
def test_a_single_change_yields_its_check_at_its_key(layout: Layout, change: Change, check: Check, key: str) -> None:
    row = copied(FINE[layout])
    change(row)
    assert judged(row, layout) == [(check, key)]


@pytest.mark.parametrize(("layout", "change", "check", "key"), CHANGES)
@pytest.mark.parametrize("ascii", [True, False])
def test_a_row_with_a_finding_is_never_certain(
    layout: Layout, change: Change, check: Check, key: str, ascii: bool
) -> None:
    row = copied(FINE[layout])
    change(row)
    line = json.dumps(row, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    assert not (is_plain_line(line) and is_usual_row(row, layout, text_column="text")), (check, key)


def test_every_check_is_tried_and_has_its_entry() -> None:
    assert {check for _, _, check, _ in CHANGES} | ELSEWHERE.keys() == set(Check) == CHECKS.keys()
    assert all(entry.meaning.endswith(".") and entry.fix.endswith(".") for entry in CHECKS.values())


def test_a_finding_has_a_place_an_excerpt_and_a_fix() -> None:
    row = {"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": ""}]}
    (finding,) = RowJudge(Layout.OPENAI, True, "text").judge(row, where="rows.jsonl:7", line=7).findings
    assert (finding.where, finding.line, finding.excerpt) == ("rows.jsonl:7", 7, "Where?")
    assert (finding.severity, finding.fix) == (Severity.ERROR, CHECKS[Check.EMPTY_ASSISTANT].fix)


def test_a_layout_that_was_asked_for_is_not_compared_with_the_rows() -> None:
    found = RowJudge(Layout.OPENAI, False, "text").judge(FINE[Layout.ALPACA], where="rows.jsonl:1", line=1)
    assert [(f.check, f.key, f.message) for f in found.findings] == [
        (Check.MISSING_KEY, "messages", '"messages" is missing')
    ]


def test_without_a_layout_every_row_is_told_by_its_keys() -> None:
    found = RowJudge(None, True, "text").judge({"alpha": 1}, where="rows.jsonl:1", line=1)
    assert [f.check for f in found.findings] == [Check.LAYOUT]
    assert "the keys alpha" in found.findings[0].message


def test_words_that_look_like_a_token_but_are_none_are_left_alone() -> None:
    text = "a <b> c | <|> < |x| > [inst] <strong> <think hard> \u00e9 \U0001f389 \t\r\n"
    assert judged({"text": text}, Layout.RAW) == []
