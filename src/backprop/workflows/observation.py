"""Looking at everything that a training run depends on, once, before anything is decided."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import overload

import attrs

from backprop.effects.files.token_store import RowSinks
from backprop.effects.probe.dataset import observe_data
from backprop.effects.probe.hardware import observe_hardware
from backprop.effects.probe.model import observe_model
from backprop.effects.probe.output import observe_output
from backprop.effects.probe.processes import observe_processes
from backprop.effects.probe.software import observe_software
from backprop.effects.probe.tokenizer import ChatTokenizer, observe_tokenizer
from backprop.plan.estimate.plan import EstimateFacts
from backprop.plan.events import Stage
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.model import ModelFacts
from backprop.plan.settings.resolve import Origins
from backprop.plan.settings.verbs.estimate_vram import EstimateVramSettings
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.facts import TrainFacts, plan_sequence_length
from backprop.workflows.estimate_vram import observe_estimate
from backprop.workflows.request import Emit, ignore


@attrs.frozen
class Observation:
    """The facts of a run, the tokenizer that read its rows, and the rows themselves when they were kept."""

    facts: TrainFacts
    tokenizer: ChatTokenizer | Absent
    rows: RowSinks | None


@overload
def observe(settings: TrainSettings) -> TrainFacts: ...


@overload
def observe(settings: EstimateVramSettings) -> EstimateFacts: ...


def observe(settings: TrainSettings | EstimateVramSettings) -> TrainFacts | EstimateFacts:
    """All that the planner of these settings wants to know of the world; loads no torch.

    For :func:`backprop.plan_train`, or for :func:`backprop.plan_estimate`, which asks for no data.
    """
    if isinstance(settings, EstimateVramSettings):
        return observe_estimate(settings)
    with observed(settings, origins=Origins(), keep_rows=False, emit=ignore) as seen:
        return seen.facts


@contextmanager
def observed(settings: TrainSettings, *, origins: Origins, keep_rows: bool, emit: Emit) -> Iterator[Observation]:
    """The observation; kept rows stand in an unlinked temporary file and vanish with the context."""
    emit(Stage("looking at the machine and the model"))
    hardware = observe_hardware(settings.training.output_dir)
    model = observe_model(settings.model.name)
    tokenizer = _tokenizer(settings, model)
    length = plan_sequence_length(settings.model, model, origins=origins, has_traces=settings.data.reasoning_trace)
    rows = RowSinks() if keep_rows and not isinstance(tokenizer, Absent) else None
    try:
        emit(Stage("reading the data"))
        data = observe_data(
            settings.data,
            max_seq_length=length.value,
            seed=settings.training.seed,
            tokenizer=tokenizer,
            method=settings.training.method,
            rows=rows,
        )
        facts = TrainFacts(
            model=model,
            tokenizer=tokenizer if isinstance(tokenizer, Absent) else tokenizer.facts,
            data=data,
            hardware=hardware,
            software=observe_software(),
            output_absent=observe_output(settings.training.output_dir),
            processes=observe_processes(os.environ),
        )
        yield Observation(facts, tokenizer, rows)
    finally:
        if rows is not None:
            rows.close()


def _tokenizer(settings: TrainSettings, model: ModelFacts | Absent) -> ChatTokenizer | Absent:
    if isinstance(model, Absent):
        return model
    if model.directory is None:
        assert model.files_absent is not None, "a model without files says why it has none"
        return model.files_absent
    return observe_tokenizer(model.directory, chat_template=settings.data.chat_template)
