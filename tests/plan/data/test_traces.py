"""Which rows of reasoning traces are kept."""

from __future__ import annotations

import pytest

from backprop.plan.data.conversation import Conversation, Pair
from backprop.plan.data.traces import TraceBand, TraceCounter, TraceVerdict, judge_traces
from backprop.plan.facts.dataset import RowCount

BAND = TraceBand(2, 4)


def words(text: str) -> int:
    return len(text.split())


def answer(*contents: str, **more: str) -> Conversation:
    asked = {"role": "user", "content": "?"}
    turns = [turn for text in contents for turn in (asked, {"role": "assistant", "content": text, **more})]
    return Conversation(tuple(turns), (False, True) * len(contents))


@pytest.mark.parametrize(
    ("example", "verdict"),
    [
        (answer("<think>one two</think>Yes."), TraceVerdict.KEPT),
        (answer("<think>one two three four</think>Yes."), TraceVerdict.KEPT),
        (answer("Yes.", reasoning_content="one two"), TraceVerdict.KEPT),
        (Pair("?", "<think>one two</think>Yes."), TraceVerdict.KEPT),
        (answer("Yes."), TraceVerdict.EMPTY),
        (answer("<think> </think>Yes."), TraceVerdict.EMPTY),
        (answer("<think>one</think>Yes."), TraceVerdict.EMPTY),
        (answer("<think>one two three four five</think>Yes."), TraceVerdict.TOO_LONG),
        (answer("<think>one two</think>Yes.", "<think>1 2 3 4 5</think>No."), TraceVerdict.TOO_LONG),
        (answer("<think>one two Yes."), TraceVerdict.UNBALANCED),
        (answer("one two</think>Yes."), TraceVerdict.UNBALANCED),
    ],
)
def test_a_row_is_kept_when_each_of_its_traces_is_whole_and_within_the_band(
    example: Conversation | Pair, verdict: TraceVerdict
) -> None:
    assert judge_traces(example, BAND, words) is verdict


def test_rows_left_out_are_counted_with_the_first_place_of_each_kind() -> None:
    counter = TraceCounter()
    for verdict, where in ((TraceVerdict.KEPT, "a:1"), (TraceVerdict.EMPTY, "a:2"), (TraceVerdict.EMPTY, "a:3")):
        counter.add(verdict, where)
    facts = counter.facts()
    assert (facts.kept, facts.left_out, facts.empty, facts.too_long) == (1, 2, RowCount(2, "a:2"), RowCount(0))
