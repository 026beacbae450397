"""``opt()``: the single declaration of a setting.

From it come the flag, the environment variable, the configuration key, the help line, the reference page, the JSON
schema and (in property_tests) the hypothesis strategy. A settings class is a frozen attrs class whose fields are
options or, for a verb, groups of options.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import attrs

from backprop.plan.settings.kinds import Kind, Switch

ENV_PREFIX = "BACKPROPAGATE_"
_METADATA_KEY = "backprop.option"
C = TypeVar("C", bound=type)


@attrs.frozen
class Option:
    """What is declared about one setting, apart from its name and default, which are the field's."""

    kind: Kind
    help: str
    flags: tuple[str, ...] = ()
    positional: bool = False
    optional_positional: bool = False
    rare: bool = False
    """Shown under ``--help-all`` only."""
    plain_env: str = ""
    """The variable's name after the prefix when it does not follow ``GROUP__FIELD``."""
    unset: str = ""
    """What happens when the value is left unset, for help and reference."""
    excludes: str = ""
    """The field of the same group that cannot be set from the same source."""
    metavar: str = ""
    file_like: bool = False
    """The value may be a path, so that shells complete file names."""


def opt(
    kind: Kind,
    *flags: str,
    help: str,
    default: Any = None,
    positional: bool = False,
    optional_positional: bool = False,
    rare: bool = False,
    env: str = "",
    unset: str = "",
    excludes: str = "",
    metavar: str = "",
    file_like: bool = False,
) -> Any:
    """Declare a setting as an attrs field; ``default=None`` means unset until a planner fills it."""
    option = Option(
        kind=kind,
        help=help,
        flags=flags,
        positional=positional,
        optional_positional=optional_positional,
        rare=rare,
        plain_env=env,
        unset=unset,
        excludes=excludes,
        metavar=metavar,
        file_like=file_like,
    )
    return attrs.field(default=default, kw_only=True, metadata={_METADATA_KEY: option})


def group(name: str) -> Callable[[C], C]:
    """Name the group of a settings class: its variables are ``BACKPROPAGATE_NAME__FIELD``, its keys ``name.field``."""

    def mark(cls: C) -> C:
        cls.__settings_group__ = name  # type: ignore[attr-defined]
        return cls

    return mark


@attrs.frozen
class BoundOption:
    """An option in its place within a verb's settings."""

    path: tuple[str, ...]
    """Attribute names from the verb's settings down to the value."""
    group: str
    """Empty for a verb's own fields, which have neither variable nor configuration key."""
    name: str
    default: Any
    option: Option

    @property
    def key(self) -> str:
        """The configuration key, ``group.field``; for a verb's own field its name alone."""
        return f"{self.group}.{self.name}" if self.group else self.name

    @property
    def env(self) -> str | None:
        """The full name of the environment variable, or None for a verb's own field."""
        if self.option.plain_env:
            return ENV_PREFIX + self.option.plain_env
        return f"{ENV_PREFIX}{self.group}__{self.name}".upper() if self.group else None

    @property
    def flag(self) -> str:
        """The flag as messages name it; for a positional its placeholder, or its name in capitals."""
        if self.option.positional:
            return self.option.metavar or self.name.upper()
        return next((f for f in self.option.flags if f.startswith("--")), self.key)

    @property
    def negative_flag(self) -> str | None:
        """The ``--no-…`` flag of a switch."""
        return f"--no-{self.flag.removeprefix('--')}" if isinstance(self.option.kind, Switch) else None


def options_of(settings_class: type[Any]) -> tuple[BoundOption, ...]:
    """Every option of a settings class, groups included, in the order of declaration."""
    if settings_class not in _OPTIONS:
        group_name = getattr(settings_class, "__settings_group__", "")
        _OPTIONS[settings_class] = tuple(_walk(settings_class, (), group_name))
    return _OPTIONS[settings_class]


_OPTIONS: dict[type[Any], tuple[BoundOption, ...]] = {}


def _walk(cls: type, path: tuple[str, ...], group_name: str) -> Iterator[BoundOption]:
    for field in attrs.fields(cls):
        option = field.metadata.get(_METADATA_KEY)
        here = (*path, field.name)
        if option is not None:
            yield BoundOption(path=here, group=group_name, name=field.name, default=field.default, option=option)
        else:
            inner, only = field.metadata[_GROUP_KEY], field.metadata[_ONLY_KEY]
            found = _walk(inner, here, inner.__settings_group__)
            yield from (bound for bound in found if not only or bound.name in only)


_GROUP_KEY = "backprop.group"


_ONLY_KEY = "backprop.only"


def part(cls: type, *, only: tuple[str, ...] = ()) -> Any:
    """A field of a verb's settings that holds a group; with ``only`` the verb takes these, the others keep defaults."""
    return attrs.field(factory=cls, kw_only=True, metadata={_GROUP_KEY: cls, _ONLY_KEY: only})


def value_at(settings: object, bound: BoundOption) -> Any:
    """The value of an option within a settings object."""
    return functools.reduce(getattr, bound.path, settings)


def flags_for(settings: object) -> tuple[str, ...]:
    """The arguments that give these settings back: only what differs from the defaults, positionals last."""
    flags: list[str] = []
    positionals: list[str] = []
    for bound in options_of(settings.__class__):
        value = value_at(settings, bound)
        if value == bound.default:
            continue
        if bound.option.positional:
            positionals.append(bound.option.kind.text(value))
        elif isinstance(bound.option.kind, Switch):
            flag = bound.flag if value else bound.negative_flag
            assert flag is not None
            flags.append(flag)
        else:
            flags.append(f"{bound.flag}={bound.option.kind.text(value)}")
    return (*flags, *(["--", *positionals] if positionals else []))
