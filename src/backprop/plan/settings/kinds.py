"""What a setting's value can be: how it is read from text, checked, written back, and described.

A kind raises ``ValueError`` with nothing but the expected shape; the resolver adds the name, the value and the place.
"""

from __future__ import annotations

import enum
import math
import re
from typing import Any, Protocol

import attrs

from backprop.plan.settings.nearest import nearest

TRUE_WORDS = ("true", "1", "yes", "on")
FALSE_WORDS = ("false", "0", "no", "off")


class Kind(Protocol):
    """How one sort of value is read and written. ``text(read(t))`` reads back to the same value."""

    @property
    def shape(self) -> str:
        """The expected shape, to stand after "expected"."""

    def read(self, text: str) -> Any:
        """A value from a flag, a variable or a ``.env`` line."""

    def accept(self, value: Any) -> Any:
        """A value from a TOML file or from Python, checked."""

    def text(self, value: Any) -> str:
        """The value as a flag or variable would give it."""

    def json_schema(self) -> dict[str, Any]:
        """The value as JSON schema."""


@attrs.frozen
class Whole:
    """A whole number within bounds, both included; the word ``auto`` reads as unset when allowed."""

    minimum: int
    maximum: int | None = None
    auto: bool = False

    @property
    def shape(self) -> str:
        span = f"of at least {self.minimum}" if self.maximum is None else f"from {self.minimum} to {self.maximum}"
        return f"a whole number {span}" + (', or "auto"' if self.auto else "")

    def read(self, text: str) -> int | None:
        if self.auto and text.strip().lower() == "auto":
            return None
        try:
            number = int(text.strip(), 10)
        except ValueError:
            raise ValueError(self.shape) from None
        return self._within(number)

    def accept(self, value: Any) -> int | None:
        if isinstance(value, str) and self.auto:
            return self.read(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(self.shape)
        return self._within(value)

    def text(self, value: int) -> str:
        return str(value)

    def json_schema(self) -> dict[str, Any]:
        number: dict[str, Any] = {"type": "integer", "minimum": self.minimum}
        if self.maximum is not None:
            number["maximum"] = self.maximum
        return {"anyOf": [number, {"const": "auto"}]} if self.auto else number

    def _within(self, number: int) -> int:
        if number < self.minimum or (self.maximum is not None and number > self.maximum):
            raise ValueError(self.shape)
        return number


@attrs.frozen
class Real:
    """A finite number within bounds; ``above`` and ``below`` exclude their end, the ``at_`` ones include it."""

    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None

    @property
    def shape(self) -> str:
        bounds = (
            (f"above {self.above:g}" if self.above is not None else ""),
            (f"of at least {self.at_least:g}" if self.at_least is not None else ""),
            (f"below {self.below:g}" if self.below is not None else ""),
            (f"of at most {self.at_most:g}" if self.at_most is not None else ""),
        )
        return " ".join(["a number", " and ".join(b for b in bounds if b)]).strip()

    def read(self, text: str) -> float:
        try:
            number = float(text.strip())
        except ValueError:
            raise ValueError(self.shape) from None
        return self._within(number)

    def accept(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(self.shape)
        try:
            return self._within(float(value))
        except OverflowError:
            raise ValueError(self.shape) from None

    def text(self, value: float) -> str:
        return repr(float(value))

    def json_schema(self) -> dict[str, Any]:
        names = {
            "exclusiveMinimum": self.above,
            "minimum": self.at_least,
            "exclusiveMaximum": self.below,
            "maximum": self.at_most,
        }
        return {"type": "number", **{k: v for k, v in names.items() if v is not None}}

    def _within(self, number: float) -> float:
        inside = (
            math.isfinite(number)
            and (self.above is None or number > self.above)
            and (self.at_least is None or number >= self.at_least)
            and (self.below is None or number < self.below)
            and (self.at_most is None or number <= self.at_most)
        )
        if not inside:
            raise ValueError(self.shape)
        return number


@attrs.frozen
class Switch:
    """On or off."""

    shape: str = "true or false"

    def read(self, text: str) -> bool:
        word = text.strip().lower()
        if word in TRUE_WORDS:
            return True
        if word in FALSE_WORDS:
            return False
        raise ValueError(self.shape)

    def accept(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError(self.shape)
        return value

    def text(self, value: bool) -> str:
        return "true" if value else "false"

    def json_schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@attrs.frozen
class Choice:
    """One member of a closed set, by its value; ``synonyms`` are other words for a member."""

    members: type[enum.Enum]
    synonyms: tuple[tuple[str, str], ...] = ()
    instead: tuple[tuple[str, str], ...] = ()
    """Words that name no member, and the flags that do what they mean."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words that name a member, in the order of declaration."""
        return tuple(str(m.value) for m in self.members)

    @property
    def shape(self) -> str:
        return "one of " + " / ".join(self.words)

    def read(self, text: str) -> enum.Enum:
        word = dict(self.synonyms).get(text.strip().lower(), text.strip().lower())
        for member in self.members:
            if str(member.value).lower() == word:
                return member
        if word in dict(self.instead):
            raise ValueError(f"{self.shape} (did you mean {dict(self.instead)[word]}?)")
        close = nearest(word, self.words)
        raise ValueError(self.shape + (f' (did you mean "{close}"?)' if close else ""))

    def accept(self, value: Any) -> enum.Enum:
        if isinstance(value, self.members):
            return value
        if isinstance(value, bool):
            return self.read("true" if value else "false")
        if not isinstance(value, str):
            raise ValueError(self.shape)
        return self.read(value)

    def text(self, value: enum.Enum) -> str:
        return str(value.value)

    def json_schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


@attrs.frozen
class Several:
    """Some members of a closed set, each once, separated by commas; the word of ``nothing`` alone is none of them."""

    members: type[enum.Enum]
    nothing: enum.Enum

    @property
    def words(self) -> tuple[str, ...]:
        """The words that name a member, in the order of declaration."""
        return tuple(str(m.value) for m in self.members)

    @property
    def shape(self) -> str:
        some = " / ".join(word for word in self.words if word != self.nothing.value)
        return f"{self.nothing.value}, or some of {some}, separated by commas"

    def read(self, text: str) -> tuple[enum.Enum, ...]:
        words = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",")))
        if words == (self.nothing.value,):
            return ()
        by_word = {str(m.value): m for m in self.members if m is not self.nothing}
        for word in words:
            if word not in by_word:
                close = nearest(word, tuple(by_word))
                raise ValueError(self.shape + (f' (did you mean "{close}"?)' if close else ""))
        return tuple(by_word[word] for word in words)

    def accept(self, value: Any) -> tuple[enum.Enum, ...]:
        if isinstance(value, str):
            return self.read(value)
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, (str, self.members)) for v in value):
            raise ValueError(self.shape)
        words = [v if isinstance(v, str) else str(v.value) for v in value]
        return self.read(",".join(words)) if words else ()

    def text(self, value: tuple[enum.Enum, ...]) -> str:
        return ",".join(str(m.value) for m in value) or str(self.nothing.value)

    def json_schema(self) -> dict[str, Any]:
        some = [word for word in self.words if word != self.nothing.value]
        listed = {"type": "array", "items": {"enum": some}, "uniqueItems": True}
        return {"anyOf": [listed, {"type": "string"}]}


def _check_encodable(text: str) -> None:
    """No file and no record can hold what is not Unicode text, and no path a zero byte."""
    if "\0" in text or (not text.isprintable() and any("\ud800" <= c <= "\udfff" for c in text)):
        raise ValueError("text in UTF-8")


@attrs.frozen
class Words:
    """Any text that is not empty."""

    shape: str = "some text"

    def read(self, text: str) -> str:
        _check_encodable(text)
        if not text.strip():
            raise ValueError(self.shape)
        return text

    def accept(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(self.shape)
        return self.read(value)

    def text(self, value: str) -> str:
        return value

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}


@attrs.frozen
class ModelName(Words):
    """A Hub name or a directory; the address of a model's page on the Hub is its name."""

    def read(self, text: str) -> str:
        return model_name(super().read(text))


_HUB_PAGE = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([^/?#\s]+/[^/?#\s]+)(?:[/?#]\S*)?")


def model_name(text: str) -> str:
    """``owner/name`` of a page's address on the Hub; a name or path without the slash at its end."""
    page = _HUB_PAGE.fullmatch(text.strip())
    if page:
        return page[1]
    bare = text.rstrip("/")
    return bare if bare.strip() else text


@attrs.frozen
class Names:
    """Names separated by commas; a TOML list of strings is the same."""

    shape: str = "names separated by commas"

    def read(self, text: str) -> tuple[str, ...]:
        _check_encodable(text)
        names = tuple(part.strip() for part in text.split(","))
        if not all(names):
            raise ValueError(self.shape)
        return names

    def accept(self, value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            return self.read(value)
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            raise ValueError(self.shape)
        return self.read(",".join(value))

    def text(self, value: tuple[str, ...]) -> str:
        return ",".join(value)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
