"""``backprop data convert`` on real files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backprop.plan.data.converting import Target
from backprop.plan.errors import BackpropError
from backprop.plan.exit_code import exit_code_for
from backprop.plan.settings.verbs.data_convert import DataConvertSettings
from backprop.workflows.data_convert import run
from backprop.workflows.request import Request

CHAT = {"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Hier – ⟂"}]}
LONG = {"messages": [*CHAT["messages"], *CHAT["messages"]]}


def write(path: Path, *rows: object) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def convert(dataset: str, to: Target, **settings: object) -> object:
    return run(Request(DataConvertSettings(dataset=dataset, to=to, **settings))).report  # type: ignore[arg-type]


def test_rows_stand_beside_the_data_set_in_the_other_layout(tmp_path: Path) -> None:
    report = convert(write(tmp_path / "chats.jsonl", CHAT, "", CHAT), Target.SHAREGPT)
    out = tmp_path / "chats.sharegpt.jsonl"
    assert (report.out, report.rows_written, report.rows_left_out) == (str(out), 2, 0)  # type: ignore[attr-defined]
    lines = out.read_text(encoding="utf-8").splitlines()
    turns = [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "Hier – ⟂"}]
    assert [json.loads(line) for line in lines] == [{"conversations": turns}] * 2


def test_a_row_that_cannot_be_held_leaves_the_former_file_as_it_was(tmp_path: Path) -> None:
    dataset = write(tmp_path / "chats.jsonl", CHAT, LONG, LONG, LONG, LONG, LONG)
    (tmp_path / "chats.alpaca.jsonl").write_text("former")
    with pytest.raises(BackpropError) as refused:
        convert(dataset, Target.ALPACA)
    named, more = refused.value.problems[:3], refused.value.problems[3]
    assert [problem.where for problem in named] == [f"{dataset}:{line}" for line in (2, 3, 4)]
    assert more.message == "So it is with 2 more rows."
    assert (tmp_path / "chats.alpaca.jsonl").read_text() == "former"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chats.alpaca.jsonl", "chats.jsonl"]


def test_bad_rows_are_left_out_when_that_is_asked_for_and_counted(tmp_path: Path) -> None:
    dataset = write(tmp_path / "chats.jsonl", CHAT, "{", LONG, CHAT)
    outcome = run(Request(DataConvertSettings(dataset=dataset, to=Target.ALPACA, skip_bad_rows=True)))
    assert (outcome.report.rows_written, outcome.report.rows_left_out, outcome.exit_code) == (2, 2, 0)
    assert [problem.message for problem in outcome.problems] == ["2 rows were left out."]


def test_nothing_is_written_when_every_row_is_bad(tmp_path: Path) -> None:
    with pytest.raises(BackpropError):
        convert(write(tmp_path / "chats.jsonl", LONG), Target.ALPACA, skip_bad_rows=True)
    assert not (tmp_path / "chats.alpaca.jsonl").exists()


def test_the_data_set_itself_is_never_overwritten(tmp_path: Path) -> None:
    dataset = write(tmp_path / "chats.jsonl", CHAT)
    with pytest.raises(BackpropError, match="is the data set itself"):
        convert(dataset, Target.SHAREGPT, out=dataset)


@pytest.mark.parametrize("out", ["chats.csv", "chats.jsonl.gz", "chats.txt", "chats.json"])
def test_a_suffix_that_does_not_say_json_lines_is_refused(tmp_path: Path, out: str) -> None:
    with pytest.raises(BackpropError, match="suffix of another kind") as refused:
        convert(write(tmp_path / "rows.jsonl", CHAT), Target.SHAREGPT, out=str(tmp_path / out))
    assert refused.value.problems[0].hint == "Name a file that ends in .jsonl or .ndjson with --out."
    assert not (tmp_path / out).exists()


def test_a_refusal_advises_only_what_helps(tmp_path: Path) -> None:
    pair = json.dumps({"prompt": "1+1?", "chosen": "2", "rejected": "3"})
    held = "Choose --to sharegpt or openai, which can hold it"
    expected = [
        (LONG, False, f"{held}, or leave such rows out with --skip-bad-rows."),
        (LONG, True, f"{held}."),
        (pair, False, "Leave such rows out with --skip-bad-rows."),
        (pair, True, "Convert other rows: no layout of --to can hold these."),
    ]
    for row, skips, hint in expected:
        with pytest.raises(BackpropError) as refused:
            convert(write(tmp_path / "rows.jsonl", row), Target.ALPACA, skip_bad_rows=skips)
        assert refused.value.problems[0].hint == hint


def test_rows_that_cannot_be_read_are_a_fault_of_the_data_too(tmp_path: Path) -> None:
    with pytest.raises(BackpropError, match="is not JSON") as refused:
        convert(write(tmp_path / "chats.jsonl", CHAT, "{"), Target.SHAREGPT)
    assert exit_code_for(refused.value.problems) == 65
