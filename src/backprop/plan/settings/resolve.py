"""Flag > environment > .env > configuration file > user file > default, with the origin of each value kept.

Everything that is wrong with a configuration is reported together: each problem names the value, where it came from,
the expected shape and the nearest valid name.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import attrs

from backprop.plan.decision import Problem, Refused, warning
from backprop.plan.settings.nearest import nearest
from backprop.plan.settings.option import ENV_PREFIX, BoundOption, options_of, value_at

S = TypeVar("S")


class Source(enum.Enum):
    """Where a value can come from, strongest first."""

    CALL = "Python call"
    FLAG = "flag"
    ENVIRONMENT = "environment"
    DOTENV = ".env"
    CONFIG = "config file"
    USER = "user file"
    DEFAULT = "default"


@attrs.frozen
class Origin:
    """Where one value came from, as a message names it: ``--lr``, ``BACKPROPAGATE_LORA__R``, ``backprop.toml``."""

    source: Source
    name: str


@attrs.frozen
class Layer:
    """What one source says. ``values`` maps configuration keys to raw values: text, or typed when ``typed``."""

    source: Source
    place: str
    """The file's name; empty for flags and environment."""
    values: Mapping[str, Any]
    typed: bool = False


@attrs.frozen
class Origins:
    """The origin of every value that is not a default."""

    by_key: Mapping[str, Origin] = attrs.field(factory=dict)

    def of(self, key: str) -> Origin | None:
        """Where the value came from; None when it is the default."""
        return self.by_key.get(key)


@attrs.frozen
class Resolved(Generic[S]):
    """A verb's settings, where each came from, and what was worth a warning."""

    settings: S
    origins: Origins
    warnings: tuple[Problem, ...] = ()


def environment_layer(
    variables: Mapping[str, str],
    *,
    known: Iterable[BoundOption],
    source: Source = Source.ENVIRONMENT,
    place: str = "",
) -> tuple[Layer, tuple[Problem, ...]]:
    """The layer that environment variables (or a ``.env`` file) make, and one warning for each unknown name of ours.

    An empty variable counts as unset.
    """
    options = tuple(known)
    by_env = {bound.env: bound for bound in options if bound.env}
    values: dict[str, str] = {}
    unknown: list[Problem] = []
    for name, text in variables.items():
        if not name.upper().startswith(ENV_PREFIX):
            continue
        bound = by_env.get(name)
        if bound is not None:
            if text.strip():
                values[bound.key] = text
        else:
            meant = named_by_flag(name, options)
            close = meant.env if meant else _nearest_variable(name, by_env)
            unknown.append(
                warning(
                    "CONFIG_UNKNOWN_SETTING",
                    f"The variable {name} is not one that backprop reads.",
                    where=place or name,
                    hint=f"Did you mean {close}?" if close else "`backprop train --help-all` names the variables.",
                )
            )
    return Layer(source=source, place=place, values=values), tuple(unknown)


def _nearest_variable(name: str, known: Iterable[str]) -> str | None:
    """Compared without the prefix, which makes all of them alike."""
    found = nearest(name[len(ENV_PREFIX) :], [k.removeprefix(ENV_PREFIX) for k in known])
    return ENV_PREFIX + found if found else None


def table_layer(
    table: Mapping[str, Any], *, known: Iterable[BoundOption], source: Source, place: str
) -> tuple[Layer, tuple[Problem, ...]]:
    """The layer that a configuration file makes, and an error for each key that does not exist."""
    options = tuple(bound for bound in known if bound.group)
    keys = {bound.key for bound in options}
    flat: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{inner}": v for inner, v in value.items()})
        else:
            flat[name] = value
    problems = tuple(
        Problem(
            "CONFIG_UNKNOWN_SETTING",
            f'The key "{key}" is not a setting.',
            where=place,
            hint=f'Did you mean "{close}"?' if (close := nearest_key(key, options)) else "",
        )
        for key in flat
        if key not in keys
    )
    return Layer(source=source, place=place, values={k: v for k, v in flat.items() if k in keys}, typed=True), problems


def nearest_key(said: str, known: Iterable[BoundOption]) -> str | None:
    """The configuration key that ``said`` probably means: by the name of its flag, or by likeness."""
    options = tuple(known)
    meant = named_by_flag(said, options)
    if meant is not None:
        return meant.key
    by_field = {bound.name: bound.key for bound in options}
    found = nearest(said, [bound.key for bound in options]) or nearest(said.rsplit(".", 1)[-1], by_field)
    return by_field.get(found, found) if found else None


def named_by_flag(said: str, known: Iterable[BoundOption]) -> BoundOption | None:
    """The option whose flag is the last part: ``training.lr`` and ``BACKPROPAGATE_TRAINING__LR`` mean --lr."""
    last = said.lower().rsplit(".", 1)[-1].rsplit("__", 1)[-1].replace("_", "-")
    return next((bound for bound in known if bound.group and f"--{last}" in bound.option.flags), None)


def resolve(settings_class: type[S], layers: Sequence[Layer]) -> Resolved[S] | Refused:
    """Settings from layers, strongest first. Keys that the class does not have are left to other verbs.

    Resolving is idempotent: a resolved object written as a typed layer resolves to itself.
    """
    problems: list[Problem] = []
    chosen: dict[str, tuple[Any, Origin, int]] = {}
    options = options_of(settings_class)
    for bound in options:
        for rank, layer in enumerate(layers):
            if bound.key not in layer.values:
                continue
            origin = _origin(bound, layer)
            raw = layer.values[bound.key]
            try:
                value = bound.option.kind.accept(raw) if layer.typed else bound.option.kind.read(raw)
            except ValueError as wrong:
                problems.append(_bad_value(bound, raw, origin, expected=str(wrong)))
            else:
                chosen[bound.key] = (value, origin, rank)
            break
    problems.extend(_settle_exclusions(options, chosen))
    if problems:
        return Refused(tuple(problems))
    values = {key: value for key, (value, _, _) in chosen.items()}
    return Resolved(
        settings=_build(settings_class, options, values),
        origins=Origins({key: origin for key, (_, origin, _) in chosen.items()}),
    )


def check_values(settings: object, *, origins: Origins) -> tuple[Problem, ...]:
    """CONFIG_INVALID_SETTING for each value that its option does not take: of settings that nobody resolved."""
    problems = []
    for bound in options_of(settings.__class__):
        value = value_at(settings, bound)
        if value is None and bound.default is None:
            continue
        try:
            bound.option.kind.accept(value)
        except ValueError as wrong:
            origin = origins.of(bound.key) or Origin(Source.CALL, bound.key)
            problems.append(_bad_value(bound, value, origin, expected=str(wrong)))
    return tuple(problems)


def _origin(bound: BoundOption, layer: Layer) -> Origin:
    is_off = bound.negative_flag is not None and layer.values[bound.key] == "false"
    flag = bound.negative_flag if is_off else bound.flag
    names = {Source.CALL: bound.name, Source.FLAG: flag, Source.ENVIRONMENT: bound.env or bound.key}
    return Origin(layer.source, names.get(layer.source) or layer.place or layer.source.value)


def _bad_value(bound: BoundOption, raw: Any, origin: Origin, *, expected: str) -> Problem:
    setting = "" if origin.name == bound.flag else f" for {bound.flag} ({bound.key})"
    return Problem(
        "CONFIG_INVALID_SETTING",
        f'"{raw}" is not a value{setting or f" for {bound.flag}"}: expected {expected}.',
        where=origin.name,
        hint=f"Change it at {origin.name}; `--help-all` describes {bound.flag}."
        if bound.group
        else f"See --help for {bound.flag}.",
    )


def _settle_exclusions(options: Sequence[BoundOption], chosen: dict[str, tuple[Any, Origin, int]]) -> Iterable[Problem]:
    """Of two settings that exclude each other the stronger source's stays; both from one source is an error."""
    for bound in options:
        other = f"{bound.group}.{bound.option.excludes}"
        if not bound.option.excludes or bound.key not in chosen or other not in chosen:
            continue
        (_, mine, my_rank), (_, theirs, their_rank) = chosen[bound.key], chosen[other]
        if my_rank == their_rank:
            yield Problem(
                "CONFIG_INVALID_SETTING",
                f"{bound.key} and {other} cannot both be set.",
                where=f"{mine.name}, {theirs.name}",
                hint="Keep the one that you mean.",
            )
        else:
            del chosen[bound.key if my_rank > their_rank else other]


def _build(settings_class: type[S], options: Sequence[BoundOption], values: Mapping[str, Any]) -> S:
    tree: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for bound in options:
        if bound.key not in values:
            continue
        if len(bound.path) == 1:
            tree[bound.name] = values[bound.key]
        else:
            parts.setdefault(bound.path[0], {})[bound.name] = values[bound.key]
    fields = {field.name: field for field in attrs.fields(settings_class)}  # type: ignore[arg-type]
    for name, inner in parts.items():
        tree[name] = fields[name].metadata["backprop.group"](**inner)
    return settings_class(**tree)
