"""Errors of rows that are trained on."""

from __future__ import annotations

from backprop.plan.data.check import Check
from backprop.plan.data.conversation import Conversation, Pair, Preference, Rated
from backprop.plan.data.faults import FaultCounter
from backprop.plan.facts.dataset import FaultCount, RowCount


def chat(*said: tuple[str, str]) -> Conversation:
    messages = tuple({"role": role, "content": text} for role, text in said)
    return Conversation(messages, tuple(role == "assistant" for role, _ in said))


def test_each_check_counts_once_a_row_with_the_first_place_and_the_most_frequent_first() -> None:
    counter = FaultCounter()
    counter.add(Pair("1+1?", "2"), "a:1")
    counter.add(chat(("user", "1"), ("assistant", "2"), ("assistant", "3"), ("assistant", "4")), "a:2")
    counter.add(Pair("1+1?", "<think> is it"), "a:3")
    counter.add(Pair("1+1?", "</think>"), "a:4")
    assert counter.facts() == (
        FaultCount(Check.UNBALANCED_THINK, RowCount(2, "a:3")),
        FaultCount(Check.ROLE_ORDER, RowCount(1, "a:2")),
    )


def test_judged_answers_without_a_question_count() -> None:
    counter = FaultCounter()
    counter.add(Preference(Pair("", "2"), Pair("", "3")), "a:1")
    counter.add(Rated(Pair("", "2"), True), "a:2")
    assert counter.facts() == (FaultCount(Check.EMPTY_USER, RowCount(2, "a:1")),)


def test_warnings_and_rows_that_are_left_out_for_want_of_an_answer_do_not_count() -> None:
    counter = FaultCounter()
    counter.add(Pair(" ", "2"), "a:1")
    counter.add(chat(("user", "1")), "a:2")
    assert Check.NO_ASSISTANT not in {fault.check for fault in counter.facts()}
    assert Check.EMPTY_USER not in {fault.check for fault in counter.facts()}
