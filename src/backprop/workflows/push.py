"""``backprop push``: an adapter, or a model with its base, on the Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backprop.effects.export.hub import find_token
from backprop.effects.files.atomic import PARTIAL, writing
from backprop.effects.probe.generation import observe_target
from backprop.plan.decision import Problem, errors_among
from backprop.plan.errors import BackpropError
from backprop.plan.export.push import Kind, check_repo, kind_of
from backprop.plan.facts.absent import Absent
from backprop.plan.settings.verbs.export import ExportFormat, ExportSettings
from backprop.plan.settings.verbs.push import PushSettings
from backprop.plan.wire.outcome import Outcome, ok
from backprop.workflows import export
from backprop.workflows.pushing import check_named_base, push_directory
from backprop.workflows.request import Emit, Request

COMMAND = "push"


def run(request: Request[PushSettings]) -> Outcome:
    """Refuse what must not leave, then push. Nothing is asked of the Hub before the files were looked through."""
    settings = request.settings
    if settings.token is not None and settings.token_file is not None:
        message = "--token and --token-file cannot be given together."
        hint = "Keep --token-file; the other one shows the token to everybody on this machine."
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", message, where="--token", hint=hint))
    refusal = check_repo(settings.repo)
    if refusal is not None:
        raise BackpropError(refusal)
    token, warnings = find_token(given=settings.token, file=settings.token_file)
    with _directory(settings, request.emit) as directory:
        warnings += check_named_base(directory)
        report = push_directory(
            directory,
            repo=settings.repo,
            token=token,
            include_base=settings.include_base,
            private=settings.private,
            revision=settings.hub_revision,
            message=settings.hub_commit_message,
            model_card=settings.model_card,
            emit=request.emit,
        )
    return ok(COMMAND, report, warnings=(*request.warnings, *warnings))


@contextmanager
def _directory(settings: PushSettings, emit: Emit) -> Iterator[Path]:
    """What is pushed; an adapter that is pushed with its base is merged into it for as long as the push takes."""
    given = Path(settings.local_path).expanduser()
    if given.is_dir() and kind_of(path.name for path in given.iterdir()) is Kind.GGUF:
        yield given
        return
    target = observe_target(settings.local_path)
    if isinstance(target, Absent):
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", target.problem.message, where="PATH"))
    found = Path(target.adapter_dir or target.model_dir or "")
    if target.adapter_dir is None or not settings.include_base:
        yield found
        return
    with writing(found), tempfile.TemporaryDirectory(prefix=f"{PARTIAL}push-", dir=found.resolve().parent) as aside:
        merged = Path(aside) / str(settings.repo).rpartition("/")[2]  # the title of its card
        wanted = ExportSettings(path=str(found), format=ExportFormat.MERGED, output=str(merged))
        problems = errors_among(export.run(Request(wanted, emit=emit)).problems)
        if problems:
            raise BackpropError(*problems)
        yield merged
