"""Personal data and secrets in text: where each stands and of which kind, never to be repeated.

Kinds with a checksum or a fixed form are matched exactly; a telephone number is a guess. What a kind begins with, or
cannot be without, is looked for first: most rows have none of it, and a search for one character is nearly free.
"""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import attrs


class PiiKind(enum.Enum):
    """What was found."""

    EMAIL = "e-mail address"
    PHONE = "telephone number"
    CREDIT_CARD = "credit card number"
    IBAN = "IBAN"
    IPV4 = "IPv4 address"
    US_SSN = "US social security number"
    PRIVATE_KEY = "private key"
    HUGGING_FACE_TOKEN = "Hugging Face token"
    SK_KEY = "sk- key"
    GITHUB_TOKEN = "GitHub token"
    AWS_KEY = "AWS access key"
    JWT = "JSON web token"


SECRETS = frozenset(
    {
        PiiKind.PRIVATE_KEY,
        PiiKind.HUGGING_FACE_TOKEN,
        PiiKind.SK_KEY,
        PiiKind.GITHUB_TOKEN,
        PiiKind.AWS_KEY,
        PiiKind.JWT,
    }
)
"""Kinds that open a door, where the others name a person."""


@attrs.frozen
class PiiSpan:
    """One find: its kind, and where it stands in the text."""

    kind: PiiKind
    start: int
    stop: int


def find_pii(text: str) -> tuple[PiiSpan, ...]:
    """Everything found, in the order of the text; spans do not overlap. Time is linear in the text."""
    found: list[PiiSpan] = []
    for mark, find in _SEARCHES:
        if mark in text:
            found.extend(find(text))
    for candidate in _NUMBER.finditer(text):
        found.extend(_numbers(text, candidate.start(), candidate.end()))
    return _disjoint(found) if len(found) > 1 else tuple(found)


def count_pii(text: str) -> Mapping[PiiKind, int]:
    """Finds by kind; empty for most texts."""
    return Counter(span.kind for span in find_pii(text))


def _disjoint(found: list[PiiSpan]) -> tuple[PiiSpan, ...]:
    """The earlier one of two that overlap; of those that begin together the longer."""
    kept: list[PiiSpan] = []
    for span in sorted(found, key=lambda span: (span.start, -span.stop)):
        if not kept or span.start >= kept[-1].stop:
            kept.append(span)
    return tuple(kept)


_MAILBOX = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_%+-])?\Z")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])")
_LONGEST_MAILBOX = 64


def _emails(text: str) -> Iterator[PiiSpan]:
    """From each @ outwards, so that long words without one cost nothing."""
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        first = max(0, at - _LONGEST_MAILBOX)
        mailbox = _MAILBOX.search(text[first:at]) if domain else None
        if domain and mailbox:
            yield PiiSpan(PiiKind.EMAIL, first + mailbox.start(), domain.end())
        at = text.find("@", domain.end() if domain else at + 1)


def _pattern(kind: PiiKind, pattern: str) -> Callable[[str], Iterator[PiiSpan]]:
    # Scripts without blanks put their letters right beside a value: only ASCII letters go on with it.
    compiled = re.compile(pattern, re.ASCII)

    def find(text: str) -> Iterator[PiiSpan]:
        return (PiiSpan(kind, match.start(), match.end()) for match in compiled.finditer(text))

    return find


_KEY_BLOCK = r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[^-]+-----END [A-Z0-9 ]{0,40}-----)?"
# A pattern begins only where a word does, so that a long run of its characters is gone through once.
_SEARCHES: tuple[tuple[str, Callable[[str], Iterator[PiiSpan]]], ...] = (
    ("@", _emails),
    ("-----BEGIN ", _pattern(PiiKind.PRIVATE_KEY, _KEY_BLOCK)),
    ("hf_", _pattern(PiiKind.HUGGING_FACE_TOKEN, r"\bhf_(?=[A-Za-z]*[0-9A-Z])[A-Za-z0-9]{16,}")),
    ("sk-", _pattern(PiiKind.SK_KEY, r"(?<![A-Za-z0-9_-])sk-(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{16,}")),
    *((f"gh{kind}_", _pattern(PiiKind.GITHUB_TOKEN, rf"\bgh{kind}_[A-Za-z0-9]{{20,}}")) for kind in "pousr"),
    ("github_pat_", _pattern(PiiKind.GITHUB_TOKEN, r"\bgithub_pat_[A-Za-z0-9_]{20,}")),
    ("AKIA", _pattern(PiiKind.AWS_KEY, r"\bAKIA[A-Z0-9]{16}\b")),
    ("eyJ", _pattern(PiiKind.JWT, r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")),
)
"""What each kind cannot be without, and how it is found."""

_NUMBER = re.compile(r"[0-9](?:[0-9 .()/-]{5,40}[0-9]|[0-9] ?[A-Z]{4})")
"""Where digits may be more than a number: at least seven characters of digits and what groups them, or the check
digits of an IBAN before the letters of its bank."""

_CARD = re.compile(
    r"(?<![0-9.-])(?:[2-6][0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{1,3})?"
    r"|3[47][0-9]{2}([ -])[0-9]{6}\2[0-9]{5}|[2-6][0-9]{12,18})(?![0-9]|[.-][0-9])"
)
_SSN = re.compile(r"(?<![0-9.-])(?!000|666|9)[0-9]{3}([- ])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![0-9]|[.-][0-9])")
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?<![0-9.-]){_OCTET}(?:\.{_OCTET}){{3}}(?![0-9]|[.-][0-9])")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
_PHONE = re.compile(
    r"\+[1-9](?:[ .()/-]{0,3}[0-9]){7,14}(?![0-9])"
    r"|(?:\([2-9][0-9]{2}\) ?|(?<![0-9.-])[2-9][0-9]{2}[ .-])[0-9]{3}[ .-][0-9]{4}(?![0-9]|[.-][0-9])"
)
"""With a country's prefix (E.164 allows fifteen digits), or grouped as numbers are in North America; other digits
are more often something else."""


def _numbers(text: str, start: int, stop: int) -> Iterator[PiiSpan]:
    """What the digits from ``start`` on are, if anything of note."""
    before = text[start - 1] if start else " "
    if _goes_on(before) or _goes_on(text[stop : stop + 1]):
        if start >= 2 and "A" <= before <= "Z":
            yield from _iban(text, start - 2)
        return
    # A number may be written with a plus sign, a parenthesis or both before its first digit.
    for kind, pattern, is_valid in _NUMBERS:
        for match in pattern.finditer(text, max(0, start - 2), stop):
            if is_valid(match[0]):
                yield PiiSpan(kind, match.start(), match.end())


def _goes_on(character: str) -> bool:
    """A word goes on with it."""
    return character.isascii() and character.isalnum()


def _iban(text: str, start: int) -> Iterator[PiiSpan]:
    match = _IBAN.match(text, start)
    if match is None or _goes_on(text[start - 1 : start]):
        return
    account = match[0].replace(" ", "")
    moved = account[4:] + account[:4]
    # ISO 13616: letters count from A = 10, and the whole leaves 1 when divided by 97.
    if 15 <= len(account) <= 34 and int("".join(str(int(c, 36)) for c in moved)) % 97 == 1:
        yield PiiSpan(PiiKind.IBAN, start, match.end())


def _passes_luhn(digits: str) -> bool:
    """The check digit of a card number (ISO/IEC 7812)."""
    numbers = [int(c) for c in reversed(digits) if c.isdigit()]
    doubled = (sum(divmod(2 * n, 10)) for n in numbers[1::2])
    return (sum(numbers[::2]) + sum(doubled)) % 10 == 0


def _always(_: str) -> bool:
    return True


_NUMBERS: tuple[tuple[PiiKind, re.Pattern[str], Callable[[str], bool]], ...] = (
    (PiiKind.CREDIT_CARD, _CARD, _passes_luhn),
    (PiiKind.US_SSN, _SSN, _always),
    (PiiKind.IPV4, _IPV4, _always),
    (PiiKind.PHONE, _PHONE, _always),
)
