"""One setting written into a file of settings: what the file holds afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from backprop.plan.decision import Problem
from backprop.plan.redaction import redact
from backprop.plan.settings.option import ENV_PREFIX, BoundOption, options_of
from backprop.plan.settings.resolve import nearest_key
from backprop.plan.settings.verbs.config import EverySetting
from backprop.plan.wire.plain import plain_data


@attrs.frozen
class Change:
    """The whole content of the changed file, and what to say about it."""

    table: Mapping[str, Any]
    key: str
    value: str
    """As it is shown: secrets are masked."""
    removed: tuple[str, ...] = ()
    """Keys that the one written excludes."""


def plan_change(text: str, table: Mapping[str, Any], *, file: str) -> Change | Problem:
    """``KEY=VALUE`` written into ``table``, which is what ``file`` holds.

    The key may also be the name of the setting's variable. The problem is INPUT_VALIDATION_FAILED for text without
    ``=``, CONFIG_UNKNOWN_SETTING, CONFIG_INVALID_SETTING, or CONFIG_INVALID for a file that has something else where
    the setting's table belongs.
    """
    name, equals, value = text.partition("=")
    if not equals:
        hint = "Such as --set model.name=Qwen/Qwen2.5-0.5B-Instruct."
        return Problem("INPUT_VALIDATION_FAILED", f'"{text}" is not KEY=VALUE.', where="--set", hint=hint)
    known = options_of(EverySetting)
    bound = _named(name.strip(), known)
    if bound is None:
        close = nearest_key(name.strip().lower().replace("__", "."), known)
        hint = f"Did you mean {close}?" if close else ""
        return Problem("CONFIG_UNKNOWN_SETTING", f'The key "{name.strip()}" is not a setting.', "--set", hint)
    try:
        typed = bound.option.kind.read(value)
    except ValueError as wrong:
        message = f'"{value}" is not a value for {bound.key}: expected {wrong}.'
        return Problem("CONFIG_INVALID_SETTING", message, "--set")
    if not isinstance(table.get(bound.group, {}), dict):
        hint = f"Write [{bound.group}] there, or begin anew with `backprop config --reset`."
        return Problem("CONFIG_INVALID", f'"{bound.group}" is not a table in {file}.', where=file, hint=hint)
    removed = _excluded(bound, table, known)
    shown = "auto" if typed is None else redact(bound.option.kind.text(typed))
    written = "auto" if typed is None else plain_data(typed)
    return Change(_written(bound, written, table, removed), bound.key, shown, tuple(b.key for b in removed))


def _named(name: str, known: Sequence[BoundOption]) -> BoundOption | None:
    key, variable = name.lower().replace("__", "."), name.upper()
    return next((b for b in known if b.key == key or b.env in (variable, ENV_PREFIX + variable)), None)


def _excluded(bound: BoundOption, table: Mapping[str, Any], known: Sequence[BoundOption]) -> tuple[BoundOption, ...]:
    """The settings in the table that cannot stand beside ``bound``."""
    inner = table.get(bound.group, {})
    there = (b for b in known if b.key in table or (b.group == bound.group and b.name in inner))
    return tuple(
        b
        for b in there
        if b.group == bound.group and (bound.option.excludes == b.name or b.option.excludes == bound.name)
    )


def _written(
    bound: BoundOption, value: Any, table: Mapping[str, Any], removed: Sequence[BoundOption]
) -> Mapping[str, Any]:
    """The table with the value in the table of its group, where a dotted key of the same name gives way."""
    gone = {bound.key, *(b.key for b in removed)}
    stays = {key: held for key, held in table.items() if key not in gone}
    inner = {name: held for name, held in table.get(bound.group, {}).items() if f"{bound.group}.{name}" not in gone}
    return {**stays, bound.group: {**inner, bound.name: value}}
