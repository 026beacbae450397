from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backprop.effects.files.rows import RawRow
from backprop.effects.probe.row_lengths import LengthCheck, length_findings
from backprop.effects.probe.row_tokens import RowTokenizer
from backprop.effects.probe.tokenizer import ChatTokenizer, observe_tokenizer
from backprop.plan.data.check import Check
from backprop.plan.data.conversation import Conversation, Example, Pair, Passage, Preference, Rated
from tests.effects.probe.test_validation import FINE, file_of
from tests.tiny import make_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


def said(*turns: str) -> Conversation:
    roles = [("user", "assistant")[i % 2] for i in range(len(turns))]
    messages = tuple({"role": role, "content": text} for role, text in zip(roles, turns, strict=True))
    return Conversation(messages, tuple(role == "assistant" for role in roles))


def found(model: Path, *examples: Example | None, limit: int, template: str | None = None) -> list[list[str]]:
    rows = [(RawRow(f"rows.jsonl:{i}", None, None, i), example) for i, example in enumerate(examples, start=1)]
    lists = length_findings(rows, LengthCheck(str(model), template, limit))
    return [[f"{f.check.value} {f.message}" for f in findings] for findings in lists]


def test_a_row_is_as_long_as_training_makes_it(model: Path) -> None:
    tokenizer = observe_tokenizer(str(model), chat_template=None)
    assert isinstance(tokenizer, ChatTokenizer)
    rows = RowTokenizer(tokenizer, 10_000, False)
    for example in (said("Hi", "Yes yes yes"), Pair("1?", "One."), Passage("Call me Ishmael.")):
        (row,) = rows.tokenize([("x", rows.write(example))])
        length = row.counted.uncut_length
        assert found(model, example, limit=length) == [[]]
        assert found(model, example, limit=length - 1) == [
            [f"too-long the row is {length:,} tokens long, and {length - 1:,} fit"]
        ]


def test_of_two_answers_the_longer_counts_and_a_row_that_was_not_read_has_no_length(model: Path) -> None:
    short, long = said("Hi", "Yes"), said("Hi", "Yes " * 200)
    examples = (Preference(long, short), Preference(short, long), Rated(long, False), None, Rated(short, True))
    assert [len(findings) for findings in found(model, *examples, limit=100)] == [1, 1, 1, 0, 0]


def test_what_the_template_refuses_is_told(model: Path, tmp_path: Path) -> None:
    template = tmp_path / "strict.jinja"
    template.write_text("{{ raise_exception('only polite users') }}", "utf-8")
    ((finding,),) = found(model, said("Hi", "Yes"), limit=100, template=str(template))
    assert finding.startswith(Check.TEMPLATE_REFUSES.value)
    assert "only polite users" in finding


def test_rows_with_errors_are_not_measured_and_the_others_are(model: Path, tmp_path: Path) -> None:
    from backprop.workflows.validate import validate_dataset

    long: dict[str, Any] = {"messages": [FINE["messages"][0], {"role": "assistant", "content": "Yes " * 200}]}
    broken = {"messages": [*long["messages"], *long["messages"][1:]]}
    path = file_of(tmp_path, FINE, long, broken)
    report = validate_dataset(path, model=model, max_seq_length=100)
    assert [(f.check, f.line) for f in report.warnings] == [(Check.TOO_LONG, 2)]
    assert [(f.check, f.line) for f in report.errors] == [(Check.ROLE_ORDER, 3)]
    assert validate_dataset(path).warnings == ()
