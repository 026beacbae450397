from __future__ import annotations

from pathlib import Path

from backprop.cli.style import Style
from backprop.cli.views.validate import show
from backprop.workflows.validate import validate_dataset
from tests.effects.probe.test_validation import BLANK, FINE, UNASKED, file_of


def shown(path: Path, **given: int) -> list[str]:
    report = validate_dataset(path, max_errors=given.get("max_errors", 100))
    return show(report, Style(width=100)).replace(str(path.parent), "…").splitlines()


def test_a_valid_file_takes_two_lines(tmp_path: Path) -> None:
    assert shown(file_of(tmp_path, FINE)) == [
        "Valid: …/rows.jsonl, 1 row checked",
        "Layout: openai, in 100% of the first rows",
    ]


def test_findings_stand_under_their_check_with_place_key_and_excerpt(tmp_path: Path) -> None:
    lines = shown(file_of(tmp_path, FINE, BLANK, BLANK, UNASKED, b"{oops"))
    assert lines[0] == "Not valid: …/rows.jsonl, 3 errors in 3 of 5 rows, 1 warning"
    assert lines[3].split() == ["check", "found", "meaning"]
    assert [line.split()[:2] for line in lines[4:7]] == [
        ["empty-assistant", "2"],
        ["unreadable", "1"],
        ["empty-user", "1"],
    ]
    at = lines.index("empty-assistant: Write the answer, or remove the turn.")
    assert lines[at + 1] == "  …/rows.jsonl:2  messages[1].content  the assistant's turn is blank  “1?”"


def test_what_is_not_listed_is_counted_and_where_it_stopped_is_said(tmp_path: Path) -> None:
    path = file_of(tmp_path, *[UNASKED] * 3, *[BLANK] * 5)
    lines = shown(path, max_errors=2)
    assert lines[0].endswith("2 errors in 2 of 5 rows, 3 warnings; stopped there, --max-errors 2")
    assert "  and 1 more" in lines


def test_control_characters_of_the_data_do_not_reach_the_terminal(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "\x1b[2J"}, {"role": "assistant", "content": ""}]}
    assert "\x1b" not in "\n".join(shown(file_of(tmp_path, row)))
