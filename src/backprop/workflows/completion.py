"""``backprop completion``: the script that completes commands, flags, choices and files in a shell."""

from __future__ import annotations

import attrs

from backprop.plan.settings.completion import completion_script
from backprop.plan.settings.verbs.completion import CompletionSettings
from backprop.plan.wire.outcome import Outcome, ok
from backprop.workflows.request import Request


@attrs.frozen
class CompletionReport:
    """The script, ready to be sourced."""

    script: str


def run(request: Request[CompletionSettings]) -> Outcome:
    """The script of the shell asked for."""
    report = CompletionReport(completion_script(request.settings.shell))
    return ok("completion", report, warnings=request.warnings)
