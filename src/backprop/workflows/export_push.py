"""``backprop export --push``: what was exported, on the Hub."""

from __future__ import annotations

import shlex
from pathlib import Path

import attrs

from backprop.effects.export.hub import find_token
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.export.plan import ExportPlan
from backprop.plan.export.push import check_repo
from backprop.plan.export.report import ExportReport
from backprop.plan.settings.verbs.export import ExportFormat, ExportSettings
from backprop.plan.settings.verbs.push import DEFAULT_MESSAGE
from backprop.workflows.pushing import check_named_base, push_directory
from backprop.workflows.request import Emit


def asks_for_push(settings: ExportSettings) -> bool:
    """Whether --push was given."""
    return settings.push is not None


def check_push(settings: ExportSettings, plan: ExportPlan) -> tuple[Problem, ...]:
    """A name that the Hub cannot have, or no token: told before minutes of work.

    Warnings for a token's file that others can read, and for an adapter whose base is a directory of this machine.
    """
    refusal = check_repo(settings.push)
    if refusal is not None:
        return (attrs.evolve(refusal, where="--push"),)
    try:
        _, warnings = find_token(given=settings.hub_token, file=settings.hub_token_file, flag="--hub-token")
    except BackpropError as error:
        return error.problems
    return (*warnings, *(check_named_base(Path(plan.source)) if plan.format is ExportFormat.LORA else ()))


def push_exported(
    settings: ExportSettings, plan: ExportPlan, report: ExportReport, emit: Emit
) -> tuple[ExportReport, tuple[Problem, ...]]:
    """Push the export; whoever asks for its format and for --push means its weights, the base's among them."""
    token, _ = find_token(given=settings.hub_token, file=settings.hub_token_file, flag="--hub-token")
    done = push_directory(
        Path(plan.output_dir),
        repo=settings.push,
        token=token,
        include_base=True,
        message=DEFAULT_MESSAGE,
        model_card=settings.model_card,
        emit=emit,
    )
    return attrs.evolve(report, pushed_to=done.url), ()


def push_command(settings: ExportSettings, plan: ExportPlan, _: ExportReport) -> str:
    """The command that pushes the export that stands."""
    words = ["backprop", "push", plan.output_dir, "--repo", str(settings.push)]
    words += [] if plan.format is ExportFormat.LORA else ["--include-base"]
    return shlex.join(words)
