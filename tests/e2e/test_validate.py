"""``backprop validate`` as a user runs it: exit codes, the envelope, and what a pipe reads."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.command import backprop
from tests.effects.probe.test_validation import BLANK, FINE, file_of
from tests.tiny import make_tiny_model


def test_a_valid_file_exits_0(tmp_path: Path) -> None:
    file_of(tmp_path, FINE)
    done = backprop("validate", "rows.jsonl", cwd=tmp_path)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("Valid: ")
    assert "\x1b" not in done.stdout


def test_errors_in_the_data_exit_65_and_the_envelope_holds_them(tmp_path: Path) -> None:
    path = file_of(tmp_path, FINE, BLANK)
    done = backprop("validate", "rows.jsonl", "--json", cwd=tmp_path)
    assert (done.code, done.data["exit_code"], done.data["schema_version"]) == (65, 65, 1)
    assert (done.data["dataset"], done.data["format_detected"], done.data["total_samples"]) == (str(path), "openai", 2)
    (error,) = done.data["errors"]
    assert {key: error[key] for key in ("check", "where", "line", "key", "excerpt")} == {
        "check": "empty-assistant",
        "where": f"{path}:2",
        "line": 2,
        "key": "messages[1].content",
        "excerpt": "1?",
    }
    assert error["fix"]
    assert done.data["warnings"] == []


def test_what_cannot_be_read_exits_1(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "wide.jsonl").write_text(json.dumps(FINE), "utf-16")
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "caf\xe9"}\n')
    for name in ("none.jsonl", "empty.jsonl", "wide.jsonl", "latin.jsonl", "."):
        assert backprop("validate", name, "--json", cwd=tmp_path).data["exit_code"] == 1, name
    assert backprop("validate", "rows.jsonl", "--format", "csv", cwd=tmp_path).code == 1
    assert backprop("validate", cwd=tmp_path).code == 1


def test_a_long_file_is_judged_in_processes_that_leave_nothing_behind(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "1? " * 300}, {"role": "assistant", "content": "One."}]}
    file_of(tmp_path, *[row] * 12_000, BLANK)
    done = backprop("validate", "rows.jsonl", "--json", cwd=tmp_path)
    assert (done.code, done.data["total_samples"], done.data["errors"][0]["line"]) == (65, 12_001, 12_001)


def test_training_refuses_what_validation_calls_an_error_and_shows_three_rows(tmp_path: Path) -> None:
    file_of(tmp_path, FINE, *[{"messages": [{"role": "usr", "content": "1?"}]}] * 5)
    model = make_tiny_model(tmp_path / "model")
    done = backprop("train", "--model", str(model), "--data", "rows.jsonl", "--dry-run", "--json", cwd=tmp_path)
    messages = [p["message"] for p in done.data["problems"] if p["code"] == "INPUT_DATASET_INVALID"]
    assert done.code == 1
    assert [message.rsplit("/", 1)[-1].split(":")[0] for message in messages[:3]] == ["rows.jsonl"] * 3
    assert messages[3:] == ["And 2 more rows that cannot be used."]
