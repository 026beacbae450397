"""Pushing a directory: choose what belongs, look through it for secrets, give it a card, and only then ask the Hub."""

from __future__ import annotations

from pathlib import Path

from backprop.effects.export.hub import check_secrets, push
from backprop.effects.probe.adapter import ADAPTER_CONFIG, observe_adapter
from backprop.effects.probe.gguf_file import observe_gguf
from backprop.plan.decision import Problem, Refused
from backprop.plan.errors import BackpropError
from backprop.plan.export.push import (
    CARD,
    DEFAULT_BRANCH,
    Kind,
    PushPlan,
    PushReport,
    check_base_name,
    kind_of,
    plan_push,
)
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
    are_adapters = kind_of(names) is Kind.GGUF and all(observe_gguf(f).is_adapter for f in directory.glob("*.gguf"))
    plan = plan_push(
        names,
        directory=str(directory),
        repo=repo,
        include_base=include_base,
        private=private,
        revision=revision,
        message=message,
        model_card=model_card,
        is_gguf_adapter=are_adapters,
    )
    if isinstance(plan, Refused):
        raise BackpropError(*plan.problems)
    check_secrets(plan)
    format = ExportFormat.OLLAMA_ADAPTER if are_adapters else _FORMATS[plan.kind]
    card = _card(plan, format) if model_card and CARD not in plan.files else None
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
        changed=done.changed,
    )


def check_named_base(directory: Path) -> tuple[Problem, ...]:
    """INPUT_BASE_LOCAL, a warning, for an adapter in ``directory`` whose base is named by a path."""
    adapter = observe_adapter(directory) if (directory / ADAPTER_CONFIG).is_file() else None
    if adapter is None or isinstance(adapter, Absent):
        return ()
    name = adapter.base_name
    return check_base_name(name, is_directory=name is not None and Path(name).expanduser().is_dir())


_FORMATS = {Kind.ADAPTER: ExportFormat.LORA, Kind.MODEL: ExportFormat.MERGED, Kind.GGUF: ExportFormat.GGUF}


def _card(plan: PushPlan, format: ExportFormat) -> str:
    """A short card for a directory that came with none."""
    adapter = observe_adapter(plan.directory) if plan.kind is Kind.ADAPTER else None
    found = None if isinstance(adapter, Absent) else adapter
    file = next((name for name in plan.files if name.endswith(".gguf")), "")
    return export_card(format, found, name=plan.repo.partition("/")[2], file=file)
