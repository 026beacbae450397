"""What docs/memory.md shows of the program's output is what the program prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "memory.md"
CONSOLES = re.findall(r"```console\n\$ backprop (.*?)\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
LEFT_OUT = "…"


def printed(arguments: str, directory: Path) -> list[str]:
    """The lines that a command prints where there is no card."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "100", "HOME": str(directory)}
    command = [sys.executable, "-m", "backprop", *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=directory, env=environment)
    return [line.rstrip() for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("arguments", "output"), CONSOLES, ids=[arguments for arguments, _ in CONSOLES])
def test_a_command_prints_what_its_documentation_shows(arguments: str, output: str, tmp_path: Path) -> None:
    rest = printed(arguments, tmp_path)
    may_skip = True  # an excerpt may begin anywhere, and goes on without a gap but for …
    for line in output.splitlines():
        if line == LEFT_OUT:
            may_skip = True
            continue
        assert line in rest if may_skip else rest[:1] == [line]
        rest = rest[rest.index(line) + 1 :]
        may_skip = False


def test_the_page_shows_something() -> None:
    assert len(CONSOLES) == 4
    assert all(len(output.splitlines()) < 25 for _, output in CONSOLES)
