from __future__ import annotations

import json
from typing import Any

import pytest

from backprop.plan.runs.record import GivenSetting, RunProblem, record_data, record_from, row_of, settings_as_given
from backprop.plan.runs.row import row_data, row_from
from backprop.plan.runs.version import NewerVersion, upgrade
from backprop.plan.settings.resolve import Layer, Resolved, Source, resolve
from backprop.plan.settings.verbs.runs import RunStatus
from backprop.plan.settings.verbs.train import TrainSettings
from tests.plan.runs.examples import a_record

FAILED = a_record(
    run_status=RunStatus.FAILED,
    problem=RunProblem("RUNTIME_GPU_OOM", "out of memory"),
    resumed_from=(5, 10),
    last_loss=1.25,
    ended_at="2026-11-24T20:00:00Z",
)


def through_json(data: Any) -> Any:
    return json.loads(json.dumps(data, allow_nan=False))


@pytest.mark.parametrize("record", [a_record(), FAILED])
def test_a_record_is_the_same_after_a_trip_through_json(record: Any) -> None:
    assert record_from(through_json(record_data(record))) == record


@pytest.mark.parametrize("record", [a_record(), FAILED])
def test_the_row_read_out_of_a_record_file_is_the_row_of_the_record(record: Any) -> None:
    assert row_from(through_json(record_data(record))) == row_of(record)
    assert row_from(through_json(row_data(row_of(record)))) == row_of(record)


@pytest.mark.parametrize("field", ["run_id", "worker", "num_steps", "run_status", "created_at"])
def test_a_row_without_one_of_its_fields_is_refused_by_name(field: str) -> None:
    data = row_data(row_of(a_record()))
    del data[field]
    with pytest.raises(ValueError, match=field):
        row_from(data)


def test_a_record_with_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValueError, match="not a"):
        record_from({**record_data(a_record()), "surprise": 1})


def test_a_record_of_a_later_version_is_told_from_a_damaged_one() -> None:
    with pytest.raises(NewerVersion):
        record_from({**record_data(a_record()), "schema_version": 2})


@pytest.mark.parametrize("version", [None, 0, True, "1"])
def test_a_record_without_a_version_is_refused(version: Any) -> None:
    with pytest.raises(ValueError, match="schema_version"):
        record_from({**record_data(a_record()), "schema_version": version})


def test_upgrades_are_applied_one_version_after_the_other() -> None:
    upgrades = {1: lambda d: {**d, "path": [*d["path"], "1 to 2"]}, 2: lambda d: {**d, "path": [*d["path"], "2 to 3"]}}
    upgraded = upgrade({"schema_version": 1, "path": []}, upgrades=upgrades, current=3)
    assert upgraded == {"schema_version": 3, "path": ["1 to 2", "2 to 3"]}
    assert upgrade(upgraded, upgrades=upgrades, current=3) == upgraded


def test_settings_are_kept_as_given_with_their_origin_and_without_secrets() -> None:
    layers = [
        Layer(Source.FLAG, "", {"training.learning_rate": "3e-4"}),
        Layer(Source.ENVIRONMENT, "", {"model.name": "hf_abcdefghijklmnop"}),
    ]
    resolved = resolve(TrainSettings, layers)
    assert isinstance(resolved, Resolved)
    given = settings_as_given(resolved.settings, resolved.origins)
    assert given == (
        GivenSetting("model.name", "[redacted]", Source.ENVIRONMENT, "BACKPROPAGATE_MODEL__NAME"),
        GivenSetting("training.learning_rate", "0.0003", Source.FLAG, "--lr"),
    )
