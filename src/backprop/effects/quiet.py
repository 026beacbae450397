"""The model libraries kept silent: what they do is told by our own events, and standard output is the user's."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import transformers


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """No progress bars, notices or warnings of transformers and what it loads, errors only."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            for kind in (FutureWarning, DeprecationWarning, UserWarning):
                warnings.simplefilter("ignore", kind)
            yield
    finally:
        transformers.logging.set_verbosity(before)
        transformers.logging.enable_progress_bar()
