"""The program as a user meets it: streams, exit codes, JSON, and what is wrong said all at once."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backprop import __version__
from backprop.cli.main import main

SECRET = "hf_abcdefghijklmnopqrst"
PROGRAM = [sys.executable, "-m", "backprop"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory to stand in, no settings from anywhere, and the log as it was afterwards."""
    for name in [n for n in os.environ if n.upper().startswith("BACKPROPAGATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield tmp_path
    root.handlers, root.level = handlers, level
    logging.captureWarnings(False)


def user_file(home: Path) -> Path:
    path = home / "config" / "backprop" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    return (code, *capsys.readouterr())


def envelope(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    code, out, err = said(capsys, *argv, "--json")
    assert err == ""
    assert out.count("\n") == 1
    data = json.loads(out)
    assert data["exit_code"] == code
    return data  # type: ignore[no-any-return]


def test_version_and_help_go_to_stdout_and_end_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--version") == (0, f"backprop {__version__}\n", "")
    for argv in ([], ["--help"], ["train", "--help"], ["train", "--help-all"]):
        code, out, err = said(capsys, *argv)
        assert (code, err) == (0, "")
        assert out.startswith("Usage: backprop")


@pytest.mark.parametrize("argv", [["trian"], ["train", "--lr"], ["info", "--jsno"], ["show-run"], ["completion"]])
def test_a_wrong_command_line_is_told_on_stderr(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    code, out, err = said(capsys, *argv)
    assert (code, out) == (1, "")
    assert err.startswith("[")
    assert "\n  " in err


@pytest.mark.parametrize("argv", [["trian"], ["train", "--stpes", "3"], ["train", "--lr"], ["train", "--lr", "0"]])
def test_with_json_a_failure_is_an_envelope_and_nothing_else(
    capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    data = envelope(capsys, *argv)
    assert data["exit_code"] == 1
    assert data["status"] in ("refused", "failed")
    assert data["problems"][0]["severity"] == "error"


def test_everything_that_is_wrong_is_told_at_once(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "backprop.toml").write_text("[training]\nmax_stesp = 3\nseed = 'one'\n")
    (home / ".env").write_text("BACKPROPAGATE_LORA__R=none\n")
    user_file(home).write_text("= broken")
    monkeypatch.setenv("BACKPROPAGATE_MODEL__NAM", "x")
    problems = envelope(capsys, "train", "--steps", "0", "--lr", "nan", "--bakend", "cpu")["problems"]
    told = "\n".join(f"{p['where']}: {p['message']} {p['hint']}" for p in problems)
    for part in (
        "--steps",
        "--lr",
        "Did you mean --backend?",
        'Did you mean "training.max_steps"?',
        '"one" is not a value for --seed',
        ".env: ",
        "is not valid TOML",
        "Did you mean BACKPROPAGATE_MODEL__NAME?",
    ):
        assert part in told
    assert [p["severity"] for p in problems] == ["error"] * 7 + ["warning"]


@pytest.mark.parametrize("argv", [["trian"], ["train", "--stpes"], ["train", "--lr", "0"], ["info"], ["list-runs"]])
def test_the_json_log_holds_only_objects(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    monkeypatch.setenv("BACKPROPAGATE_NO_SUCH", "1")
    code, out, err = said(capsys, *argv, "--log-format", "json")
    assert err
    assert all(json.loads(line)["code"] for line in err.splitlines())
    assert bool(out) is (code == 0)


def test_the_json_log_is_heard_from_the_environment_even_when_the_line_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKPROPAGATE_LOG_JSON", "1")
    assert json.loads(said(capsys, "trian")[2])["hint"] == "Did you mean `backprop train`?"


def test_the_log_level_leaves_out_what_is_under_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKPROPAGATE_NO_SUCH", "1")
    assert "NO_SUCH" in said(capsys, "completion", "bash")[2]
    assert said(capsys, "completion", "bash", "--log-level", "ERROR")[2] == ""


def test_the_log_file_holds_what_was_told(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKPROPAGATE_NO_SUCH", "1")
    assert said(capsys, "completion", "bash", "--log-file", "logs/a.log", "--log-format", "json")[0] == 0
    (line,) = (home / "logs" / "a.log").read_text().splitlines()
    assert "BACKPROPAGATE_NO_SUCH" in json.loads(line)["message"]


def test_a_log_file_that_cannot_be_opened_is_an_error(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    code, _, err = said(capsys, "info", "--log-file", str(home))
    assert code == 77
    assert "[INPUT_PATH_UNUSABLE]" in err


@pytest.mark.parametrize("verbose", [[], ["-v"]])
@pytest.mark.parametrize("mode", [[], ["--json"], ["--log-format", "json"]])
def test_secrets_in_arguments_reach_no_stream(
    capsys: pytest.CaptureFixture[str], verbose: list[str], mode: list[str]
) -> None:
    for argv in (
        ["train", "--lr", SECRET],
        [f"--{SECRET}", "train"],
        ["train", f"--x=token={SECRET}"],
        ["config", "--set", f"model.name=https://me:{SECRET}@host/m"],
        ["config", "--show"],
        ["config", "--set", f"nothing={SECRET}"],
        ["generate", f"/nowhere/{SECRET}", "hello"],
    ):
        _, out, err = said(capsys, *argv, *verbose, *mode)
        assert SECRET not in out + err


def test_a_bug_exits_70_asks_for_a_report_and_shows_its_trace_only_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError(f"token={SECRET}")

    monkeypatch.setattr("backprop.workflows.info.platform.platform", broken)
    code, _, err = said(capsys, "info")
    assert code == 70
    assert "[RUNTIME_BUG]" in err
    assert "report" in err
    assert "Traceback" not in err
    _, _, err = said(capsys, "info", "-v")
    assert "Traceback" in err
    assert SECRET not in err


def test_a_command_that_needs_no_settings_goes_on_with_broken_files(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    user_file(home).write_text("[log]\nlevel = 'loud'\n[training]\nsteps = 1\n")
    code, out, err = said(capsys, "completion", "bash")
    assert (code, "_backprop" in out) == (0, True)
    assert err.count("[CONFIG_") == 2
    assert said(capsys, "train", "--dry-run")[0] == 1
    assert said(capsys, "config", "--show")[0] == 1
    assert said(capsys, "config", "--reset")[0] == 0
    assert said(capsys, "config", "--show")[0] == 0


def test_info_tells_everything_as_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKPROPAGATE_MODEL__NAME", "m")
    monkeypatch.setenv("BACKPROPAGATE_UI_AUTH", "me:word")
    data = envelope(capsys, "info", "--subcommand-tiers", "--env-vars", "--error-codes", "--log-level", "ERROR")
    assert data["version"] == __version__
    assert {f["name"] for f in data["features"]} >= {"train", "generate", "qlora"}
    assert {"command": "list-runs", "tier": "deprecated", "prefer": "runs"} in data["subcommand_tiers"]
    assert ["BACKPROPAGATE_MODEL__NAME", "m"] in data["env_vars"]
    assert ["BACKPROPAGATE_UI_AUTH", "[redacted]"] in data["env_vars"]
    assert {"code", "exit_code", "retryable", "meaning", "hint"} == data["error_codes"][0].keys()


def test_info_without_flags_describes_the_machine_and_with_them_only_what_was_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = envelope(capsys, "info")
    assert data["subcommand_tiers"] is data["env_vars"] is data["error_codes"] is None
    machine, tables = (
        said(capsys, "info", *flags)[1] for flags in ([], ["--env-vars", "--subcommand-tiers", "--error-codes"])
    )
    assert "processors" in machine
    assert "No BACKPROPAGATE_ variable is set." in tables
    assert "RUNTIME_GPU_OOM" in tables
    assert "processors" not in tables


@pytest.mark.parametrize(("arguments", "code"), [(["train", "--help-all"], 0), (["show-run", "none", "--json"], 1)])
def test_a_reader_that_leaves_early_hears_no_noise_and_changes_no_exit_code(arguments: list[str], code: int) -> None:
    process = subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert (process.stderr.read(), process.wait(timeout=60)) == (b"", code)
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_stdout_is_an_error_without_a_trace() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*PROGRAM, "info"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert ended.returncode == 2
    assert ended.stderr.startswith("[RUNTIME_DISK_FULL]")
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize(("argv", "code"), [("completion bash", 0), ("trian", 1)])
def test_streams_that_are_closed_from_the_start_change_no_exit_code(argv: str, code: int) -> None:
    for closed, stream in ((">&-", "stderr"), ("2>&-", "stdout")):
        ended = subprocess.run(
            f'"{sys.executable}" -m backprop {argv} {closed}', shell=True, capture_output=True, text=True, check=False
        )
        assert ended.returncode == code
        assert "Traceback" not in getattr(ended, stream)


@pytest.mark.skipif(os.name == "nt", reason="a directory in use cannot be removed there")
def test_a_directory_that_is_gone_is_named_as_the_reason(
    capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "gone").mkdir()
    monkeypatch.chdir(home / "gone")
    (home / "gone").rmdir()
    code, _, err = said(capsys, "train")
    monkeypatch.chdir(home)
    assert code == 1
    assert "no longer exists" in err


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_is_valid_whatever_the_arguments_and_the_encoding(encoding: str) -> None:
    ended = subprocess.run(
        [*PROGRAM, "train", "--json", b"--lr=\xff\xc3\xa9"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, b"")
    assert "é" in json.loads(ended.stdout.decode(encoding))["problems"][0]["message"]


def test_an_interrupt_exits_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> str:
        signal.raise_signal(signal.SIGINT)
        return "never reached"

    monkeypatch.setattr("backprop.workflows.info.platform.platform", interrupted)
    code, _, err = said(capsys, "info")
    assert (code, err.splitlines()[0]) == (130, "[RUNTIME_INTERRUPTED] Interrupted.")
