"""The one place where the CLI imports late: the chosen command's modules, and the bar that only a terminal needs."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from backprop.plan.settings.commands import Command

RICH_PROGRESS = "backprop.cli.rich_progress:RichProgress"
PLAN_VIEW = "backprop.cli.views.train:show_planned"


def load(target: str) -> Any:
    """The object that ``module:name`` means."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def workflow_of(command: Command) -> Callable[..., Any]:
    """``run(request) -> Outcome``"""
    return load(f"backprop.workflows.{command.module}:run")  # type: ignore[no-any-return]


def view_of(command: Command) -> Callable[..., str]:
    """``show(report, style) -> str``"""
    return load(f"backprop.cli.views.{command.module}:show")  # type: ignore[no-any-return]
