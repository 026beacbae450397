"""Secrets never leave the program: one function, used by every log line, record and error."""

from __future__ import annotations

import re
from typing import Any

MASK = "[redacted]"

_NAME = r"(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|ui_auth)"
_IS = r"(?:\\*[\"'])?\s*[=:]\s*"
"""Between the name of a secret and its value, in code, JSON, JSON within JSON, and query strings."""

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # scheme://user:password@host keeps scheme and host, which the reader needs; the password may hold an @.
    (re.compile(r"(?P<keep>://)[^\s/:]*:[^\s/]+(?=@)"), rf"\g<keep>{MASK}"),
    (re.compile(r"(?i)(?P<keep>\bbearer\s+)(?!\[redacted\])[^\s\"',;]+"), rf"\g<keep>{MASK}"),
    (re.compile(rf"(?is)(?P<keep>{_NAME}{_IS}\")(?!\[redacted\]\")(?:[^\"\\]|\\.)+"), rf"\g<keep>{MASK}"),
    (re.compile(rf"(?is)(?P<keep>{_NAME}{_IS}')(?!\[redacted\]')(?:[^'\\]|\\.)+"), rf"\g<keep>{MASK}"),
    (re.compile(rf"(?i)(?P<keep>{_NAME}{_IS}\\+[\"'])(?!\[redacted\])[^\"'\\]+"), rf"\g<keep>{MASK}"),
    (
        re.compile(rf"(?i)(?P<keep>{_NAME}{_IS})(?!\[redacted\])(?!bearer\s)[^\s\"',;&}}\])\\][^\s\"',;&}}\])]*"),
        rf"\g<keep>{MASK}",
    ),
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), MASK),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{8,}"), MASK),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), MASK),
    (re.compile(r"\b(?:ghp|gho|ghs|ghu|github_pat)_[A-Za-z0-9_]{8,}"), MASK),
)
_SHAPED = tuple(
    re.compile(pattern)
    for pattern in (
        r"\bhf_[A-Za-z0-9]{20,}",
        r"\bsk-(?=[A-Za-z0-9_-]*[0-9])[A-Za-z0-9_-]{16,}",
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        r"\b(?:ghp|gho|ghs|ghu|github_pat)_[A-Za-z0-9_]{20,}",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    )
)
"""Keys that are known by their shape, as long as they are issued."""
_NAMED = tuple(
    re.compile(pattern)
    for pattern in (
        r"[a-z]://[^\s/:\"']*:[^\s/\"']+@[\w.-]+",
        r"(?i)\bbearer\s+[A-Za-z0-9._~+/-]{16,}",
        r"(?i)(?:password|passwd|secret|api[_-]?key|access[_-]?key|auth[_-]?token)(?:\\*[\"'])?\s*[=:]\s*(?:\\*[\"'])?[^\s\"'{}<>\[\],;]{8,}",
    )
)
"""Values that are secrets by what stands before them."""
_SECRET_NAME = re.compile(rf"(?i){_NAME}$")


def redact(text: str) -> str:
    """``text`` with Bearer tokens, hf_/sk-/AKIA/gh keys, ``token=``-like pairs and URL credentials masked.

    Idempotent: what a mask uncovers, such as a second key that the first one runs into, is masked as well.
    """
    masked = _masked(text)
    while masked != text:
        text, masked = masked, _masked(masked)
    return masked


def _masked(text: str) -> str:
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def find_secret(text: str, *, prose: bool = True) -> str | None:
    """The first secret in a text, masked but for its beginning, for a file that is about to leave; None without one.

    Stricter than :func:`redact`, which may mask too much: what it finds stops a push. A vocabulary is no ``prose``, and
    words beside each other mean nothing in it, so that only keys known by their shape are looked for there.
    """
    found = (match[0] for pattern in (_SHAPED + _NAMED if prose else _SHAPED) for match in pattern.finditer(text))
    return next((f"{secret[:_NUM_SHOWN]}…" for secret in found if MASK not in secret), None)


_NUM_SHOWN = 6
"""Letters of a secret that tell which it is, and not what it is."""


def redact_value(name: str, value: str) -> str:
    """The value of a variable: masked as a whole when the name says that it is a secret."""
    return MASK if value and _SECRET_NAME.search(name) else redact(value)


def redact_data(data: Any) -> Any:
    """Plain JSON data with :func:`redact` on every text in it; what is JSON stays JSON."""
    if isinstance(data, str):
        return redact(data)
    if isinstance(data, dict):
        return {key: redact_data(value) for key, value in data.items()}
    return [redact_data(value) for value in data] if isinstance(data, (list, tuple)) else data
