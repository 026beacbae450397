"""The root flags: how the program talks. Their variables have plain names."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.settings.kinds import Choice, Switch, Words
from backprop.plan.settings.option import group, opt


class LogLevel(enum.Enum):
    """The least severity that is logged."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class LogFormat(enum.Enum):
    """Lines for a person, or one JSON object a line."""

    CONSOLE = "console"
    JSON = "json"


_JSON_WORDS = tuple(
    [(w, "json") for w in ("true", "1", "yes", "on")] + [(w, "console") for w in ("false", "0", "no", "off")]
)


@group("log")
@attrs.frozen
class LogSettings:
    """BACKPROPAGATE_LOG_LEVEL, LOG_JSON, LOG_FILE, DEBUG."""

    debug: bool = opt(
        Switch(),
        "--verbose",
        "-v",
        env="DEBUG",
        default=False,
        help="Show full traces and paths. Credentials stay masked.",
    )
    level: LogLevel = opt(
        Choice(LogLevel), "--log-level", env="LOG_LEVEL", default=LogLevel.INFO, help="Least severity that is logged."
    )
    format: LogFormat = opt(
        Choice(LogFormat, synonyms=_JSON_WORDS),
        "--log-format",
        env="LOG_JSON",
        default=LogFormat.CONSOLE,
        help="json: stderr holds one JSON object a line and nothing else.",
    )
    file: str | None = opt(
        Words(),
        "--log-file",
        env="LOG_FILE",
        unset="stderr only",
        help="Write the log to this file too.",
        metavar="PATH",
        file_like=True,
    )
