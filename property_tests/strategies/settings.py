"""Settings of any verb, derived from their declaration: one strategy for each kind of value."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
from hypothesis import strategies as st

from backprop.plan.settings.kinds import Choice, ModelName, Names, Real, Several, Switch, Whole, Words, model_name
from backprop.plan.settings.option import BoundOption, options_of

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


def wholes(kind: Whole) -> st.SearchStrategy[int]:
    """Within the bounds, small and huge."""
    return st.integers(kind.minimum, kind.maximum if kind.maximum is not None else 10**30)


def reals(kind: Real) -> st.SearchStrategy[float]:
    """Within the bounds, each end in or out as declared."""
    low, high = (e for e in ((kind.above, kind.at_least), (kind.below, kind.at_most)))
    return st.floats(
        min_value=next((b for b in low if b is not None), None),
        max_value=next((b for b in high if b is not None), None),
        exclude_min=kind.above is not None,
        exclude_max=kind.below is not None,
        allow_nan=False,
        allow_infinity=False,
    ).filter(math.isfinite)


def words() -> st.SearchStrategy[str]:
    """Any text that a file can hold."""
    return st.text(CHARACTERS, min_size=1, max_size=12).filter(str.strip)


def names() -> st.SearchStrategy[tuple[str, ...]]:
    """Names without the comma that separates them."""
    name = words().map(str.strip).filter(lambda n: "," not in n)
    return st.lists(name, min_size=1, max_size=4).map(tuple)


def several(kind: Several) -> st.SearchStrategy[tuple[Any, ...]]:
    """Some of the members, in any order, or none."""
    some = [member for member in kind.members if member is not kind.nothing]
    return st.lists(st.sampled_from(some), unique=True).map(tuple)


VALUES: dict[type[Any], Callable[[Any], st.SearchStrategy[Any]]] = {
    Whole: wholes,
    Real: reals,
    Switch: lambda _: st.booleans(),
    Choice: lambda kind: st.sampled_from(tuple(kind.members)),
    Several: several,
    Words: lambda _: words(),
    ModelName: lambda _: words().map(model_name),
    Names: lambda _: names(),
}


@st.composite
def values_of(draw: st.DrawFn, settings_class: type[Any]) -> dict[str, Any]:
    """Values by key for some of the options, none that exclude each other, and every positional."""
    chosen: dict[str, Any] = {}
    for bound in options_of(settings_class):
        if f"{bound.group}.{bound.option.excludes}" not in chosen and (bound.option.positional or draw(st.booleans())):
            chosen[bound.key] = draw(VALUES[type(bound.option.kind)](bound.option.kind))
    for bound in options_of(settings_class):
        if bound.option.excludes and bound.key in chosen:
            chosen.pop(f"{bound.group}.{bound.option.excludes}", None)
    return chosen


def built(settings_class: type[Any], values: dict[str, Any]) -> Any:
    """The settings object that holds ``values`` and defaults."""
    settings = settings_class()
    for bound in options_of(settings_class):
        if bound.key in values:
            settings = _with(settings, bound, values[bound.key])
    return settings


def _with(settings: Any, bound: BoundOption, value: Any) -> Any:
    if len(bound.path) == 1:
        return attrs.evolve(settings, **{bound.name: value})
    inner = attrs.evolve(getattr(settings, bound.path[0]), **{bound.name: value})
    return attrs.evolve(settings, **{bound.path[0]: inner})
