"""Log records to stderr and to a file: lines for a person or one JSON object a line, secrets masked in both."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

from backprop.effects.files.atomic import make_directory, writing
from backprop.plan.redaction import redact
from backprop.plan.settings.log import LogFormat, LogSettings

LOGGER_NAME = "backprop"
TOLD = logging.getLogger("backprop.told")
"""What the program itself tells on stderr, in forms of its own; here it reaches the log file."""
TOLD.propagate = False
TOLD.addHandler(logging.NullHandler())


_NOTICES = tuple(map(logging.getLogger, ("bitsandbytes.backends.cpu.ops", "torchao", "torch.utils._pytree")))
"""They warn on every import of kernels that this machine lacks, and of one another's ways, whether or not anything
is in 4 or 8 bits; training does without where something is."""


class ConsoleFormatter(logging.Formatter):
    """``12:30:01 WARNING logger: message``, with the trace of an exception below it."""

    def __init__(self, *, traces: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S")
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        """The record as text."""
        if not self._traces:
            record.exc_info, record.exc_text = None, None
        return redact(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a record: ``time``, ``level``, ``logger``, ``message``, and ``trace`` of an exception."""

    def __init__(self, *, traces: bool) -> None:
        super().__init__()
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        data = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if self._traces and record.exc_info:
            data["trace"] = redact(self.formatException(record.exc_info))
        return json.dumps(data, ensure_ascii=False)


def configure_logging(settings: LogSettings) -> None:
    """Send the program's and the libraries' records where the settings say, in place of what was set before.

    Raises ``BackpropError`` when the log file cannot be opened.
    """
    traces = settings.debug
    formatter: logging.Formatter = (
        JsonFormatter(traces=traces) if settings.format is LogFormat.JSON else ConsoleFormatter(traces=traces)
    )
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    files: list[logging.Handler] = []
    if settings.file is not None:
        path = Path(settings.file)
        make_directory(path.parent)
        with writing(path):
            files.append(logging.FileHandler(path, encoding="utf-8", errors="backslashreplace"))
    level = level_of(settings)
    root = logging.getLogger()
    _replace_handlers(root, [*handlers, *files], formatter)
    _replace_handlers(TOLD, files or [logging.NullHandler()], formatter)
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger(LOGGER_NAME).setLevel(level)
    for notices in _NOTICES:
        notices.setLevel(logging.WARNING if traces else logging.ERROR)
    logging.captureWarnings(True)


def hush_notices() -> None:
    """Leave out what libraries say on every import, where :func:`configure_logging` has not been called."""
    for notices in _NOTICES:
        if notices.level == logging.NOTSET:
            notices.setLevel(logging.ERROR)


def adopt_torch() -> None:
    """Let torch's records take the way of all others: when it is imported it gives them a handler of its own."""
    torch = logging.getLogger("torch")
    if logging.getLogger().handlers:
        torch.handlers.clear()
        torch.propagate = True


def level_of(settings: LogSettings) -> int:
    """The least severity that is told, as :mod:`logging` counts it."""
    return logging.DEBUG if settings.debug else int(getattr(logging, settings.level.value))


def _replace_handlers(logger: logging.Logger, handlers: list[logging.Handler], formatter: logging.Formatter) -> None:
    for old in logger.handlers[:]:
        logger.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(formatter)
        logger.addHandler(handler)
