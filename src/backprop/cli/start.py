"""The door: the version is told before anything else is loaded."""

from __future__ import annotations

import gc
import sys

from backprop import __version__


def run() -> None:
    """The entry point of the ``backprop`` program."""
    if sys.argv[1:] in (["--version"], ["-V"]) and sys.stdout is not None:
        sys.stdout.write(f"backprop {__version__}\n")
        return
    gc.disable()  # what imports make stays: looking for garbage in it takes a tenth of the start
    from backprop.cli.main import run as run_main

    gc.enable()
    run_main()
