"""The program as a user runs it: a process of its own, in a directory of its own, with nothing of the tester's setup.

The process is forked from the test's, which has loaded torch already, so that a run takes a second and not ten.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import attrs
from huggingface_hub import constants

from backprop.cli.main import main
from tests.effects.children import fork
from tests.hub_double import NOWHERE

FAST = ("--batch-size", "2", "--grad-accum", "1", "--no-packing", "--logging-steps", "1", "--lora-r", "4")
"""Flags that make a run on the tiny model small."""


@attrs.frozen
class Done:
    """A process that has ended."""

    code: int
    """The exit code; for a process that a signal ended, minus its number."""
    stdout: str
    stderr: str

    @property
    def data(self) -> dict[str, Any]:
        """The envelope, which must be all of stdout."""
        assert self.stdout.count("\n") == 1, self.stdout + self.stderr
        found: dict[str, Any] = json.loads(self.stdout)
        return found


@attrs.define
class Running:
    """A process that may still run."""

    pid: int
    out: Path
    err: Path

    def ended(self, *, seconds: float = 120.0) -> Done:
        """Wait for its end; a process that does not end is killed and fails the test."""
        until = time.monotonic() + seconds
        while not (found := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > until:
                self.signal(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(self.err.read_text(encoding="utf-8"))
            time.sleep(0.002)
        code = os.waitstatus_to_exitcode(found[1])
        return Done(code, self.out.read_text(encoding="utf-8"), self.err.read_text(encoding="utf-8"))

    def signal(self, number: int = signal.SIGINT) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait_until_it_says(self, text: str, *, seconds: float = 60.0) -> None:
        """Wait until ``text`` stands in its stderr."""
        until = time.monotonic() + seconds
        while text not in self.err.read_text(encoding="utf-8"):
            assert time.monotonic() < until, self.err.read_text(encoding="utf-8")
            time.sleep(0.002)


def start(*arguments: str, cwd: Path, **variables: str) -> Running:
    """Start the program in ``cwd`` with an empty home and no network."""
    logs = cwd / ".logs"
    logs.mkdir(exist_ok=True)
    number = len(list(logs.iterdir())) // 2
    out, err = logs / f"{number}.out", logs / f"{number}.err"
    out.touch()
    err.touch()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BACKPROPAGATE_", "HF_", "XDG_"))}
    environ = {**kept, "HOME": str(cwd / "home"), "HF_ENDPOINT": NOWHERE, **variables}

    def work() -> None:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environ)
        for path, number in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        importlib.reload(constants)  # the Hub's client reads its environment there, once
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    return Running(fork(work), out, err)


def backprop(*arguments: str, cwd: Path, **variables: str) -> Done:
    """Run the program to its end."""
    return start(*arguments, cwd=cwd, **variables).ended()


def leftovers(directory: Path) -> list[str]:
    """What nobody should find when a run is over."""
    return [str(path) for path in directory.rglob("*") if path.name.startswith((".partial", ".replaced", "tmp"))]
