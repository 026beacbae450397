"""The door: the version is told before anything else is loaded."""

from __future__ import annotations

import gc
import sys

from backprop import __version__

RARELY = 100_000
"""Objects that are made before the collector looks for cycles; executors set it back."""


def run() -> None:
    """The entry point of the ``backprop`` program."""
    if sys.argv[1:] in (["--version"], ["-V"]) and sys.stdout is not None:
        sys.stdout.write(f"backprop {__version__}\n")
        return
    # What imports and planning make stays, or goes without being looked for: looking takes a tenth of the time.
    gc.set_threshold(RARELY)
    from backprop.cli.main import run as run_main

    run_main()
