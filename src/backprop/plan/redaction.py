"""Secrets never leave the program: one function, used by every log line, record and error."""

from __future__ import annotations

import re

MASK = "[redacted]"

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # scheme://user:password@host keeps scheme and host, which the reader needs.
    (re.compile(r"(?P<keep>[A-Za-z][A-Za-z0-9+.-]*://)[^\s/@:]*:[^\s/@]+(?=@)"), rf"\g<keep>{MASK}"),
    (re.compile(r"(?i)(?P<keep>\bbearer\s+)(?!\[redacted\])[^\s\"',;]+"), rf"\g<keep>{MASK}"),
    (
        re.compile(
            r"(?i)(?P<keep>[\w-]*(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)[\"']?\s*[=:]\s*[\"']?)"
            r"(?!\[redacted\])(?!bearer\s)[^\s\"',;&}\])]+"
        ),
        rf"\g<keep>{MASK}",
    ),
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), MASK),
    (re.compile(r"\bsk-[A-Za-z0-9_-]{8,}"), MASK),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), MASK),
    (re.compile(r"\b(?:ghp|gho|ghs|ghu|github_pat)_[A-Za-z0-9_]{8,}"), MASK),
)


def redact(text: str) -> str:
    """``text`` with Bearer tokens, hf_/sk-/AKIA/gh keys, ``token=``-like pairs and URL credentials masked.

    Idempotent: redacting twice changes nothing more.
    """
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
