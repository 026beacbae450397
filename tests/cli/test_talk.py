"""Progress and problems on their way to stderr."""

from __future__ import annotations

import json

import pytest

from backprop.cli.talk import Progress, Talk
from backprop.plan.decision import Problem, warning
from backprop.plan.events import Stage

SAID = (Problem("CONFIG_INVALID", "bad"), warning("CONFIG_DEPRECATED", "old"))


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    talk = Talk(argv)
    progress = Progress(talk)
    progress(Stage("loading"))
    progress.close()
    talk.tell(SAID)
    out, err = capsys.readouterr()
    assert out == ""
    return [line for line in err.splitlines() if not line.startswith("  ")]


@pytest.mark.parametrize(
    ("level", "lines"),
    [
        ("INFO", ["loading", "[CONFIG_INVALID] bad", "[CONFIG_DEPRECATED] Warning: old"]),
        ("WARNING", ["[CONFIG_INVALID] bad", "[CONFIG_DEPRECATED] Warning: old"]),
        ("ERROR", ["[CONFIG_INVALID] bad"]),
    ],
)
def test_the_level_decides_what_is_told(capsys: pytest.CaptureFixture[str], level: str, lines: list[str]) -> None:
    assert told(capsys, "--log-level", level) == lines


def test_progress_and_problems_are_objects_in_the_json_log(capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = (json.loads(line) for line in told(capsys, "--log-format=json"))
    assert first == {"event": "Stage", "name": "loading"}
    assert [second["severity"], third["severity"]] == ["error", "warning"]


def test_what_cannot_be_understood_of_the_log_flags_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "--log-level", "loud", "--log-format", "json")[0] == "loading"


def test_json_after_two_dashes_is_a_word() -> None:
    assert Talk(["generate", "--json"]).json
    assert not Talk(["generate", "--", "--json"]).json
