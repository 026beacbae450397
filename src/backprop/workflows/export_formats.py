"""The formats of an export, a line each: what is checked before any work, and what writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from backprop.effects.export.adapter import write_lora
from backprop.effects.export.gguf_format import check_gguf, write_gguf_format
from backprop.effects.export.merged import write_merged
from backprop.effects.export.staging import check_output
from backprop.plan.decision import Problem
from backprop.plan.export.plan import Exported, ExportPlan
from backprop.plan.export.report import ExportReport
from backprop.plan.settings.verbs.export import ExportFormat, ExportSettings
from backprop.workflows.export_ollama import (
    asks_for_ollama,
    check_lora,
    check_ollama,
    register_exported,
    write_gguf_adapter,
)
from backprop.workflows.export_push import asks_for_push, check_push, push_exported
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
    needs_base: bool = True


FORMATS: Mapping[ExportFormat, Format] = {
    ExportFormat.LORA: Format(_check_lora, write_lora, needs_base=False),
    ExportFormat.MERGED: Format(_check_room, write_merged),
    ExportFormat.GGUF: Format(check_gguf, write_gguf_format),
    ExportFormat.OLLAMA_ADAPTER: Format(check_lora, write_gguf_adapter, needs_base=False),
}


@attrs.frozen
class Following:
    """Something that is done with an export once it is written; ``do`` is None where this version cannot."""

    flag: str
    is_asked: Callable[[ExportSettings], bool]
    check: Callable[[ExportSettings, ExportPlan], tuple[Problem, ...]] = lambda *_: ()
    """What stands in the way, found before any work."""
    do: Callable[[ExportSettings, ExportPlan, ExportReport, Emit], ExportReport] | None = None
    """Gives the report with what it has to add."""


FOLLOWING: tuple[Following, ...] = (
    Following("--ollama", asks_for_ollama, check_ollama, register_exported),
    Following("--push", asks_for_push, check_push, push_exported),
)


def check_following(settings: ExportSettings, plan: ExportPlan) -> tuple[Problem, ...]:
    """What stands in the way of what is asked for besides the export."""
    asked = [following for following in FOLLOWING if following.is_asked(settings)]
    unable = [following.flag for following in asked if following.do is None]
    return (
        *(Problem("INPUT_VALIDATION_FAILED", f"{f} cannot be done by this version.", where=f) for f in unable),
        *(problem for following in asked for problem in following.check(settings, plan)),
    )
