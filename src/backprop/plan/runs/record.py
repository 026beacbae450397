"""The record of a run: its plan, what was asked, what the world was, and what came of it. Versioned, and kept small."""

from __future__ import annotations

from typing import Any

import attrs

from backprop.plan.facts.dataset import DataFacts
from backprop.plan.facts.hardware import HardwareFacts
from backprop.plan.facts.model import ModelFacts
from backprop.plan.facts.software import SoftwareFacts
from backprop.plan.redaction import redact
from backprop.plan.runs.row import RunKind, RunRow, Worker
from backprop.plan.runs.version import RECORD_VERSION, upgrade
from backprop.plan.settings.option import options_of, value_at
from backprop.plan.settings.resolve import Origins, Source
from backprop.plan.settings.verbs.runs import RunStatus
from backprop.plan.training.plan import TrainPlan
from backprop.plan.wire.converter import as_mapping, from_data, to_data


@attrs.frozen
class GivenSetting:
    """A setting that was not left at its default, as text that its option reads back."""

    key: str
    text: str
    source: Source
    name: str
    """Where it came from, as a message names it."""


@attrs.frozen
class FactsSummary:
    """What the world was when the run was planned, short of what the plan itself holds."""

    hardware: HardwareFacts
    software: SoftwareFacts
    model_type: str
    num_parameters: int
    rows: int
    heldout_rows: int
    tokens: int | None
    supervised_tokens: int | None


@attrs.frozen
class Fingerprints:
    """Short names of the content that the run was planned on; equal content has equal names."""

    plan: str
    model: str
    data: str


@attrs.frozen
class RunProblem:
    """Why a run failed."""

    code: str
    message: str


@attrs.frozen
class RunRecord:
    """All that is known of a run apart from its events, which stand beside it in ``events.jsonl``."""

    run_id: str
    kind: RunKind
    created_at: str
    """UTC, ISO 8601."""
    run_status: RunStatus
    worker: Worker
    model: str
    data: str
    num_steps: int
    plan: TrainPlan
    facts: FactsSummary
    fingerprints: Fingerprints
    settings: tuple[GivenSetting, ...] = ()
    ended_at: str | None = None
    steps_done: int = 0
    last_loss: float | None = None
    """Mean nats a supervised token over the last steps reported."""
    best_loss: float | None = None
    best_step: int | None = None
    """Best by held-out loss; None without an evaluation."""
    train_seconds: float | None = None
    adapter: str | None = None
    """The finished adapter, relative to the output directory."""
    full_model: str | None = None
    """The finished model of full fine-tuning, relative to the output directory."""
    resumed_from: tuple[int, ...] = ()
    """The steps that the run went on after, one for each time it was continued."""
    problem: RunProblem | None = None


def row_of(record: RunRecord) -> RunRow:
    """The line that the index has of a record."""
    own = {field.name: getattr(record, field.name) for field in attrs.fields(RunRow) if field.name != "problem_code"}
    return RunRow(**own, problem_code=record.problem.code if record.problem else None)


def record_data(record: RunRecord) -> dict[str, Any]:
    """The record as JSON data, its version first."""
    return {"schema_version": RECORD_VERSION, **to_data(record)}


def record_from(data: Any) -> RunRecord:
    """The inverse of :func:`record_data`, for every version there has been.

    Raises ``ValueError`` for what is no record, its subclass ``NewerVersion`` for one of a later backprop.
    """
    current = upgrade(as_mapping(data))
    return from_data({key: value for key, value in current.items() if key != "schema_version"}, RunRecord)


def settings_as_given(settings: object, origins: Origins) -> tuple[GivenSetting, ...]:
    """The settings that somebody gave, with where they came from; secrets in them are masked."""
    return tuple(
        GivenSetting(
            key=bound.key, text=redact(bound.option.kind.text(value)), source=origin.source, name=redact(origin.name)
        )
        for bound in options_of(settings.__class__)
        if (origin := origins.of(bound.key)) is not None and (value := value_at(settings, bound)) is not None
    )


def summarize_facts(
    hardware: HardwareFacts, software: SoftwareFacts, model: ModelFacts, data: DataFacts
) -> FactsSummary:
    """The facts in a few numbers; the plan beside them has the whole description of model and data."""
    tokens = data.train.tokens
    return FactsSummary(
        hardware=hardware,
        software=software,
        model_type=model.model_type,
        num_parameters=model.num_parameters,
        rows=data.train.rows,
        heldout_rows=data.heldout.rows if data.heldout else 0,
        tokens=tokens.tokens if tokens else None,
        supervised_tokens=tokens.supervised_tokens if tokens else None,
    )
