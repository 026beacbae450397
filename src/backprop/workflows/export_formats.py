"""The formats of an export, a line each: what is checked before any work, and what writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from backprop.effects.export.adapter import write_lora
from backprop.effects.export.gguf_format import check_gguf, write_gguf_format
from backprop.effects.export.merged import write_merged
from backprop.effects.export.staging import check_output
from backprop.plan.decision import Problem
from backprop.plan.export.plan import Exported, ExportPlan, Needed
from backprop.plan.export.report import ExportReport
from backprop.plan.settings.verbs.export import ExportFormat, ExportSettings
from backprop.workflows.export_ollama import (
    asks_for_ollama,
    check_lora,
    check_ollama,
    register_command,
    register_exported,
    write_gguf_adapter,
)
from backprop.workflows.export_push import asks_for_push, check_push, push_command, push_exported
from backprop.workflows.request import Emit


def _check_lora(plan: ExportPlan) -> tuple[Problem, ...]:
    if plan.adapter is None:
        message = f"{plan.source} is a whole model; there is no adapter to export."
        hint = "Use --format merged or gguf."
        return (Problem("INPUT_VALIDATION_FAILED", message, where="--format", hint=hint),)
    return _check_room(plan)


def _check_room(plan: ExportPlan) -> tuple[Problem, ...]:
    return check_output(plan, num_bytes=plan.source_bytes)


@attrs.frozen
class Format:
    """How one format is checked before any work, and written."""

    check: Callable[[ExportPlan], tuple[Problem, ...]]
    write: Callable[..., Exported]
    """``write(plan, out, *, emit)``"""
    needed: Needed = Needed.WEIGHTS
    """Of the adapter's base."""


FORMATS: Mapping[ExportFormat, Format] = {
    ExportFormat.LORA: Format(_check_lora, write_lora, Needed.NOTHING),
    ExportFormat.MERGED: Format(_check_room, write_merged),
    ExportFormat.GGUF: Format(check_gguf, write_gguf_format),
    ExportFormat.OLLAMA_ADAPTER: Format(check_lora, write_gguf_adapter, Needed.SHAPE),
}


@attrs.frozen
class Following:
    """Something that is done with an export once it is written."""

    is_asked: Callable[[ExportSettings], bool]
    check: Callable[[ExportSettings, ExportPlan], tuple[Problem, ...]]
    """What stands in the way, found before any work."""
    do: Callable[[ExportSettings, ExportPlan, ExportReport, Emit], tuple[ExportReport, tuple[Problem, ...]]]
    """Gives the report with what it has to add, and warnings."""
    again: Callable[[ExportSettings, ExportPlan, ExportReport], str]
    """The command that does it alone with the export that stands; empty where only the export does it."""


FOLLOWING: tuple[Following, ...] = (
    Following(asks_for_ollama, check_ollama, register_exported, register_command),
    Following(asks_for_push, check_push, push_exported, push_command),
)


def check_following(settings: ExportSettings, plan: ExportPlan) -> tuple[Problem, ...]:
    """What stands in the way of what is asked for besides the export."""
    asked = (following for following in FOLLOWING if following.is_asked(settings))
    return tuple(problem for following in asked for problem in following.check(settings, plan))
