"""The one translation of what the Hub's client raises into catalogued errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from backprop.effects.files.os_errors import os_code
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.redaction import redact

NOT_FOUND = "not found"

_BY_CLASS = {
    "GatedRepoError": ("INPUT_AUTH_REQUIRED", "The Hub gives {what} only to accounts that were granted access."),
    "DisabledRepoError": (NOT_FOUND, "The Hub has disabled {what}."),
    "RepositoryNotFoundError": (NOT_FOUND, "The Hub has no {what} that this account may see."),
    "RevisionNotFoundError": (NOT_FOUND, "The Hub has no such revision of {what}."),
    "RemoteEntryNotFoundError": (NOT_FOUND, "The Hub's {what} lacks a file that is needed."),
    "HFValidationError": (NOT_FOUND, "{what} is neither a directory here nor a name that the Hub can have."),
    "OfflineModeIsEnabled": ("HUB_UNREACHABLE", "{what} is not on this machine, and HF_HUB_OFFLINE is set."),
    "LocalEntryNotFoundError": ("HUB_UNREACHABLE", "{what} is not on this machine, and the Hub cannot be reached."),
    "FileMetadataError": ("HUB_RESPONSE_UNKNOWN", "The Hub's answer about {what} is not one that can be understood."),
    "TimeoutException": ("HUB_UNREACHABLE", "The Hub did not answer in time about {what}."),
    "TransportError": ("HUB_UNREACHABLE", "The connection to the Hub failed or was cut while reading {what}."),
}  # fmt: skip
"""Class name to code and message, the most special first in each class's line of bases.

By name, because importing the client's error classes costs 0.1 s that only a failure is worth.
"""

_BY_STATUS = {
    401: ("INPUT_AUTH_REQUIRED", "The Hub refuses access to {what} (401): the token is missing or not valid."),
    403: ("INPUT_AUTH_REQUIRED", "The Hub refuses access to {what} (403)."),
    404: (NOT_FOUND, "The Hub has no {what}."),
}


@contextmanager
def hub_errors(what: str, *, not_found: str, where: str) -> Iterator[None]:
    """Raise ``BackpropError`` for what the client raises inside; ``what`` is such as ``the model a/b``.

    ``not_found`` is the code for a repository, revision or file that is not there.
    """
    try:
        yield
    except BackpropError:
        raise
    except (OSError, ValueError) as error:
        raise BackpropError(problem_of(error, what, not_found=not_found, where=where)) from error
    except Exception as error:
        # Of the client's transport errors not all are OSErrors; what the table does not know is nobody's but ours.
        if _named(error) is None:
            raise
        raise BackpropError(problem_of(error, what, not_found=not_found, where=where)) from error


def problem_of(error: BaseException, what: str, *, not_found: str, where: str) -> Problem:
    """The problem that an exception of the client stands for; the cause tells more than a wrapper."""
    found = _row(error) or ("HUB_RESPONSE_UNKNOWN", "The Hub could not serve {what}: " + _first_line(error))
    code, message = found
    text = message.replace("{what}", what)
    return Problem(not_found if code == NOT_FOUND else code, text[:1].upper() + text[1:], where=where)


def _row(error: BaseException) -> tuple[str, str] | None:
    for cause in _causes(error):
        named = _named(cause)
        if named is not None and named != _BY_CLASS["LocalEntryNotFoundError"]:
            return named
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(status, int):
            return _BY_STATUS.get(status, ("HUB_RESPONSE_UNKNOWN", f"The Hub answered {{what}} with status {status}."))
        if isinstance(cause, OSError) and (code := os_code(cause)) is not None:
            return code, f"{{what}} cannot be stored in the Hub cache: {cause.strerror}."
    return _named(error)


def _named(error: BaseException) -> tuple[str, str] | None:
    return next((_BY_CLASS[base.__name__] for base in type(error).__mro__ if base.__name__ in _BY_CLASS), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _first_line(error: BaseException) -> str:
    return redact(str(error).partition("\n")[0][:200] or type(error).__name__)
