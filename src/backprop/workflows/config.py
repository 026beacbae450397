"""``backprop config``: every setting with its origin; a setting written to the user's file; that file put aside."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs

from backprop.effects.configuration import observe_configuration
from backprop.effects.files.user_config import read_toml, remove_user_config, user_config_file, write_user_config
from backprop.plan.decision import Problem, Refused
from backprop.plan.redaction import redact_data
from backprop.plan.settings.change import plan_change
from backprop.plan.settings.option import BoundOption, options_of, value_at
from backprop.plan.settings.resolve import Resolved, Source, resolve
from backprop.plan.settings.verbs.config import ConfigSettings, EverySetting
from backprop.plan.wire.outcome import Outcome, Status, ok, refused
from backprop.plan.wire.plain import plain_data
from backprop.workflows.request import Request

COMMAND = "config"


@attrs.frozen
class ShownSetting:
    """One setting: its value (None while unset) and where that came from."""

    key: str
    value: Any
    source: Source
    origin: str
    unset: str


@attrs.frozen
class ConfigReport:
    """What ``backprop config`` says; ``changed`` is one sentence when the user's file was changed."""

    user_file: str
    changed: str = ""
    settings: tuple[ShownSetting, ...] = ()


def run(request: Request[ConfigSettings]) -> Outcome:
    """Reset, write and show; what is written is checked as if it stood on the command line.

    Shown are the settings as they are after the change, and without being asked for when nothing else is.
    """
    settings, user_file = request.settings, user_config_file()
    if settings.reset and settings.set is not None:
        message = "--set and --reset cannot both be asked for."
        both = Problem("INPUT_VALIDATION_FAILED", message, where="--set", hint="Reset first.")
        return refused(COMMAND, (both,))
    changed: str | Problem = ""
    if settings.reset:
        changed = _reset(user_file)
    elif settings.set is not None:
        changed = _write(settings.set, user_file)
    if isinstance(changed, Problem):
        return refused(COMMAND, (changed, *request.warnings))
    if changed and not settings.show:
        return ok(COMMAND, ConfigReport(str(user_file), changed), warnings=request.warnings)
    return _show(settings, user_file, changed, request.warnings)


def _reset(user_file: Path) -> str:
    kept = remove_user_config(user_file)
    return f"Your settings were put aside as {kept}." if kept else f"There is nothing to reset: no {user_file}."


def _write(text: str, user_file: Path) -> str | Problem:
    change = plan_change(text, read_toml(user_file), file=str(user_file))
    if isinstance(change, Problem):
        return change
    write_user_config(user_file, change.table)
    also = "".join(f"; {key}, which it excludes, is removed" for key in change.removed)
    return f"{change.key} = {change.value} in {user_file}{also}"


def _show(settings: ConfigSettings, user_file: Path, changed: str, warnings: tuple[Problem, ...]) -> Outcome:
    seen = observe_configuration(environ=os.environ, directory=Path.cwd(), config=settings.config, user_file=user_file)
    resolved = resolve(EverySetting, seen.layers)
    if seen.errors or isinstance(resolved, Refused):
        more = resolved.problems if isinstance(resolved, Refused) else ()
        told = {p.message for p in seen.errors}
        problems = (*seen.errors, *more, *(w for w in warnings if w.message not in told))
        if changed:
            return Outcome(COMMAND, Status.FAILED, ConfigReport(str(user_file), changed), problems)
        return refused(COMMAND, problems)
    shown = tuple(_shown(bound, resolved) for bound in options_of(EverySetting))
    return ok(COMMAND, ConfigReport(str(user_file), changed, shown), warnings=warnings)


def _shown(bound: BoundOption, resolved: Resolved[EverySetting]) -> ShownSetting:
    origin = resolved.origins.of(bound.key)
    value = plain_data(value_at(resolved.settings, bound))
    return ShownSetting(
        key=bound.key,
        value=redact_data(value),
        source=origin.source if origin else Source.DEFAULT,
        origin=origin.name if origin else "",
        unset=bound.option.unset,
    )
