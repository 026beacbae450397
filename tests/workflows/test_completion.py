"""The completion scripts, in the shells that read them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from backprop.plan.settings.command_line import flags_of, options_for
from backprop.plan.settings.commands import COMMANDS
from backprop.plan.settings.verbs.completion import CompletionSettings, Shell
from backprop.workflows.completion import run
from backprop.workflows.request import Request

ASK = """source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _backprop
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: Shell) -> str:
    return str(run(Request(CompletionSettings(shell=shell))).report.script)


def bash(directory: Path, *words: str) -> list[str]:
    """What bash offers for the last word, which may be empty."""
    path = directory / "completion.bash"
    path.write_text(script(Shell.BASH) + "\n")
    ended = subprocess.run(
        ["bash", "--norc", "-c", ASK, "ask", str(path), *words],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        cwd=directory,
    )
    assert ended.stderr == ""
    return sorted(ended.stdout.split())


@pytest.mark.parametrize("shell", list(Shell))
def test_the_shell_accepts_its_script(shell: Shell) -> None:
    if shutil.which(shell.value) is None:
        pytest.skip(f"{shell.value} is not installed")
    subprocess.run([shell.value, "-n"], input=script(shell), text=True, timeout=20, check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "offers"),
    [
        (["backprop", "tr"], ["train"]),
        (["backprop", "--ver"], ["--version"]),
        (["backprop", "train", "--mo"], ["--mode", "--model"]),
        (["backprop", "-v", "train", "--pac"], ["--packing"]),
        (["backprop", "train", "--no-pa"], ["--no-packing"]),
        (["backprop", "train", "--steps", "5", "--log-le"], ["--log-level"]),
        (["backprop", "train", "--lora-preset", ""], ["fast", "quality"]),
        (["backprop", "train", "--lora-preset", "="], ["fast", "quality"]),
        (["backprop", "train", "--lora-preset", "=", "f"], ["fast"]),
        (["backprop", "train", "--data", "comp"], ["completion.bash"]),
        (["backprop", "completion", ""], ["bash", "fish", "zsh"]),
        (["backprop", "info", "--steps"], []),
    ],
)
def test_bash_completes_commands_flags_choices_and_files(tmp_path: Path, words: list[str], offers: list[str]) -> None:
    assert bash(tmp_path, *words) == offers


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
def test_bash_offers_every_flag_of_a_command(tmp_path: Path, command: object) -> None:
    assert isinstance(command, type(COMMANDS[0]))
    if command.name != "completion":
        flags = {f for b in options_for(command) for f in flags_of(b)}
        assert flags <= set(bash(tmp_path, "backprop", *command.name.split(), "-"))


def test_fish_is_told_every_flag_and_quotes_every_text() -> None:
    lines = script(Shell.FISH).splitlines()
    for command in COMMANDS:
        of_command = "\n".join(
            x for x in lines if f"from {command.name.replace(' ', '; and __fish_seen_subcommand_from ')}'" in x
        )
        for bound in options_for(command):
            assert all(f" -l {f[2:]}" in of_command for f in bound.option.flags if f.startswith("--"))
    assert all(line.replace(r"\'", "").count("'") % 2 == 0 for line in lines)


def test_zsh_runs_the_function_of_bash() -> None:
    assert script(Shell.ZSH).endswith(script(Shell.BASH))
    assert script(Shell.ZSH).startswith("autoload -U +X bashcompinit")
