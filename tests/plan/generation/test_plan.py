"""The plan of a generation."""

from __future__ import annotations

from backprop.plan.decision import Refused
from backprop.plan.generation.facts import TargetFacts
from backprop.plan.generation.plan import Base, completion_seed, plan_base
from backprop.plan.generation.report import Completion, Ending, GenerationReport, cut_short
from backprop.plan.settings.verbs.generate import GenerateSettings

SETTINGS = GenerateSettings(adapter_path="a", prompt="p")
ADAPTER = TargetFacts(adapter_dir="a", recorded_base="org/model", recorded_commit="c0ffee")


def test_the_recorded_base_is_taken_at_its_recorded_commit() -> None:
    assert plan_base(SETTINGS, ADAPTER) == Base("org/model", "c0ffee")


def test_base_given_wins_and_forgets_the_recorded_commit() -> None:
    assert plan_base(GenerateSettings(adapter_path="a", prompt="p", base="other"), ADAPTER) == Base("other")


def test_an_adapter_without_a_recorded_base_needs_one() -> None:
    refused = plan_base(SETTINGS, TargetFacts(adapter_dir="a"))
    assert isinstance(refused, Refused)
    assert refused.problems[0].code == "INPUT_VALIDATION_FAILED"
    assert "--base" in refused.problems[0].hint


def test_seeds_of_neighbouring_seeds_and_completions_differ() -> None:
    assert len({completion_seed(seed, index) for seed in range(30) for index in range(30)}) == 900


def test_only_a_completion_that_was_cut_is_worth_a_warning() -> None:
    def report(*endings: Ending) -> GenerationReport:
        done = tuple(Completion("x", 5, ending) for ending in endings)
        return GenerationReport(None, "b", "p", "p", 1, 0.7, 0, done)

    assert cut_short(report(Ending.STOP)) == ()
    (warning,) = cut_short(report(Ending.STOP, Ending.LENGTH))
    assert "1 of 2" in warning.message
