"""Pushing a directory: choose what belongs, look through it for secrets, give it a card, and only then ask the Hub."""

from __future__ import annotations

from pathlib import Path

from backprop.effects.export.hub import check_secrets, push
from backprop.effects.probe.adapter import observe_adapter
from backprop.plan.decision import Refused
from backprop.plan.errors import BackpropError
from backprop.plan.export.push import CARD, DEFAULT_BRANCH, Kind, PushPlan, PushReport, plan_push
from backprop.plan.export.request import export_card
from backprop.plan.facts.absent import Absent
from backprop.plan.settings.verbs.export import ExportFormat
from backprop.workflows.request import Emit


def push_directory(
    directory: Path,
    *,
    repo: str | None,
    token: str,
    include_base: bool,
    private: bool = False,
    revision: str | None = None,
    message: str,
    model_card: bool = True,
    emit: Emit,
) -> PushReport:
    """Push what belongs of a directory. Raises ``BackpropError``, HUB_PUSH_SECRET and its kin among them."""
    names = [entry.name + "/" * entry.is_dir() for entry in directory.iterdir()]
    plan = plan_push(
        names,
        directory=str(directory),
        repo=repo,
        include_base=include_base,
        private=private,
        revision=revision,
        message=message,
        model_card=model_card,
    )
    if isinstance(plan, Refused):
        raise BackpropError(*plan.problems)
    check_secrets(plan)
    card = _card(plan) if model_card and CARD not in plan.files else None
    done = push(plan, token=token, card=card, emit=emit)
    return PushReport(
        repo=plan.repo,
        url=done.url,
        commit=done.commit,
        revision=plan.revision or DEFAULT_BRANCH,
        kind=plan.kind,
        private=plan.private,
        files=plan.files if card is None else (*plan.files, CARD),
        left_out=plan.left_out,
        num_bytes=done.num_bytes,
    )


_FORMATS = {Kind.ADAPTER: ExportFormat.LORA, Kind.MODEL: ExportFormat.MERGED, Kind.GGUF: ExportFormat.GGUF}


def _card(plan: PushPlan) -> str:
    """A short card for a directory that came with none."""
    adapter = observe_adapter(plan.directory) if plan.kind is Kind.ADAPTER else None
    found = None if isinstance(adapter, Absent) else adapter
    return export_card(_FORMATS[plan.kind], found, name=plan.repo.partition("/")[2])
