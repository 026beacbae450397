"""What a dry run tells of a model that is not on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backprop.plan.decision import Problem
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.model import ModelFacts
from backprop.plan.settings.data import DataSettings
from backprop.plan.settings.model import ModelSettings
from backprop.plan.settings.verbs.estimate_vram import EstimateVramSettings
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.workflows import train
from backprop.workflows.observation import observe
from backprop.workflows.request import Request
from tests.hub_double import GATED, NOWHERE, Hub, ask, serving

GATED_AND_KNOWN = "meta-llama/Llama-3.2-1B"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as running:
        yield running


def dry_run(hub: Hub | str, home: Path, model: str, **more: str) -> tuple[int, tuple[Problem, ...]]:
    """(exit code, problems)."""
    data = home / "rows.jsonl"
    data.write_text('{"text": "A row."}\n' * 8)
    settings = TrainSettings(model=ModelSettings(name=model), data=DataSettings(dataset_name=str(data)), dry_run=True)

    def outcome() -> tuple[int, tuple[Problem, ...]]:
        ended = train.run(Request(settings))
        return ended.exit_code, ended.problems

    answer = ask(hub, home, outcome, **more)
    assert isinstance(answer, tuple), answer
    return answer


def test_a_dry_run_for_a_gated_model_ends_with_1(hub: Hub, tmp_path: Path) -> None:
    hub.refusals["/api/models/ann/small"] = GATED
    code, problems = dry_run(hub, tmp_path, "ann/small")
    assert code == 1
    assert {problem.code for problem in problems} == {"INPUT_AUTH_REQUIRED"}


def test_a_dry_run_without_a_hub_ends_with_69(tmp_path: Path) -> None:
    code, problems = dry_run(NOWHERE, tmp_path, "ann/small")
    assert code == 69
    assert {problem.code for problem in problems} == {"HUB_UNREACHABLE"}


def test_a_known_gated_model_is_planned_by_its_shape_and_the_refusal_is_told(hub: Hub, tmp_path: Path) -> None:
    hub.refusals[f"/api/models/{GATED_AND_KNOWN}"] = GATED
    code, problems = dry_run(hub, tmp_path, GATED_AND_KNOWN)
    assert code == 0
    (told,) = [problem for problem in problems if problem.where == "--model"]
    assert told.code == "INPUT_AUTH_REQUIRED"
    assert "only to accounts that were granted access" in told.message


def test_a_known_model_is_planned_by_its_shape_offline_and_the_switch_is_told(tmp_path: Path) -> None:
    code, problems = dry_run(NOWHERE, tmp_path, GATED_AND_KNOWN, HF_HUB_OFFLINE="1")
    assert code == 0
    (told,) = [problem for problem in problems if problem.where == "--model"]
    assert told.code == "HUB_UNREACHABLE"
    assert "HF_HUB_OFFLINE is set" in told.message


def test_what_an_estimate_asks_about_is_observed_by_the_name_it_gives(tmp_path: Path) -> None:
    for asked in (
        EstimateVramSettings(name="Qwen/Qwen2.5-0.5B"),
        EstimateVramSettings(name="https://huggingface.co/Qwen/Qwen2.5-0.5B/"),
        EstimateVramSettings(model=ModelSettings(name="Qwen/Qwen2.5-0.5B")),
    ):
        facts = observe(asked)
        assert isinstance(facts.model, ModelFacts)
        assert facts.model.name == "Qwen/Qwen2.5-0.5B"
    assert isinstance(observe(EstimateVramSettings()).model, ModelFacts)
    assert isinstance(observe(EstimateVramSettings(name=str(tmp_path))).model, Absent)
