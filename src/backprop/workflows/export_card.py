"""The card of an export: that of the run that trained it, fitted to what it became."""

from __future__ import annotations

from pathlib import Path

import attrs

from backprop.effects.probe.licence import observe_licence
from backprop.effects.store.run_of import observe_run_of
from backprop.plan.export.card import Shape, model_card
from backprop.plan.export.plan import ExportPlan
from backprop.plan.export.trained import trained_of
from backprop.plan.settings.verbs.export import ExportFormat

_SHAPES = {
    ExportFormat.LORA: Shape.ADAPTER,
    ExportFormat.OLLAMA_ADAPTER: Shape.GGUF_ADAPTER,
    ExportFormat.MERGED: Shape.MERGED,
    ExportFormat.GGUF: Shape.GGUF,
}


def described(plan: ExportPlan) -> ExportPlan:
    """The plan with the run's card; as it is where nobody knows the run, or no card is wanted."""
    found = observe_run_of(Path(plan.source)) if plan.model_card is not None else None
    if found is None:
        return plan
    record, events = found
    licence = observe_licence(plan.merge.base.directory if plan.merge else record.plan.model.directory)
    is_gguf = plan.format is ExportFormat.GGUF
    card = model_card(
        trained_of(record, events, licence=licence),
        shape=Shape.MODEL if plan.adapter is None and not is_gguf else _SHAPES[plan.format],
        name=plan.name,
        file=plan.gguf_name,
        quantization=plan.quantization.value if is_gguf else "",
    )
    return attrs.evolve(plan, model_card=card.text, loss_image=card.loss_image)
