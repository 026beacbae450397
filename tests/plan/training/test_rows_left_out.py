"""What is said of rows that are left out, and the length that reasoning traces take."""

from __future__ import annotations

import attrs

from backprop.plan.data.check import Check
from backprop.plan.decision import Problem, Refused, Severity
from backprop.plan.facts.dataset import DatasetFacts, FaultCount, RowCount, TraceFacts
from backprop.plan.settings.data import DataSettings
from backprop.plan.settings.model import ModelSettings
from backprop.plan.settings.resolve import Origin, Origins, Source
from backprop.plan.settings.verbs.train import TrainSettings
from backprop.plan.training.facts import plan_sequence_length
from backprop.plan.training.plan import TrainPlan, plan_train
from tests.plan.training.worlds import dataset, tokens, world

BAD = Problem("INPUT_DATASET_INVALID", "rows.jsonl:7: the conversation is empty.", where="rows.jsonl:7")


def planned(data: DatasetFacts, **settings: object) -> TrainPlan | Refused:
    asked = attrs.evolve(TrainSettings(), data=DataSettings(**settings))  # type: ignore[arg-type]
    return plan_train(asked, world(data=data), origins=Origins())


def broken(count: int) -> DatasetFacts:
    return dataset(rows=100 + count, broken=(BAD,) * min(count, 20), num_broken=count)


def test_one_row_that_cannot_be_used_refuses_the_run() -> None:
    refused = planned(broken(5))
    assert isinstance(refused, Refused)
    assert refused.problems[:3] == (BAD,) * 3 or refused.problems[0] == BAD
    assert any("--skip-bad-rows" in problem.hint for problem in refused.problems)


def test_rows_are_left_out_when_that_is_asked_for_and_it_is_said_how_many() -> None:
    for settings in ({"skip_bad_rows": True}, {"max_bad_share": 0.05}):
        plan = planned(broken(5), **settings)
        assert isinstance(plan, TrainPlan), plan
        told = [problem for problem in plan.warnings if problem.code == "INPUT_DATASET_INVALID"]
        assert [problem.severity for problem in told] == [Severity.WARNING]
        assert told[0].message.startswith("5 of 105 rows cannot be used and are left out")


def test_more_than_the_share_that_is_allowed_refuses_the_run_with_both_shares() -> None:
    refused = planned(broken(6), max_bad_share=0.05)
    assert isinstance(refused, Refused)
    first = refused.problems[0]
    assert (first.where, first.severity) == ("--max-bad-share", Severity.ERROR)
    assert first.message == "6 of 106 rows cannot be used: 0.0566 of them, and 0.05 may be."


def test_leaving_rows_out_is_not_advised_to_who_asked_for_it() -> None:
    refused = planned(dataset(rows=9, broken=(BAD,) * 9, num_broken=9), skip_bad_rows=True)
    assert isinstance(refused, Refused)
    assert not any("--skip-bad-rows" in problem.hint for problem in refused.problems)


def test_that_no_row_has_a_good_trace_is_the_one_error() -> None:
    traces = TraceFacts(0, RowCount(15, "rows.jsonl:1"), RowCount(0), RowCount(0))
    refused = planned(dataset(tokens(((1, 0),), supervised_tokens=0), rows=15, traces=traces), reasoning_trace=True)
    assert isinstance(refused, Refused)
    (problem,) = (problem for problem in refused.problems if problem.code == "INPUT_TARGETS_EMPTY")
    assert problem is refused.problems[0]
    assert (problem.where, problem.severity) == ("--reasoning-trace", Severity.ERROR)
    assert "15 with no trace of at least 8 tokens (rows.jsonl:1)" in problem.message


def test_what_is_left_out_for_its_trace_is_said_by_kind() -> None:
    traces = TraceFacts(60, RowCount(30, "rows.jsonl:2"), RowCount(0), RowCount(10, "rows.jsonl:9"))
    plan = planned(dataset(traces=traces), reasoning_trace=True)
    assert isinstance(plan, TrainPlan), plan
    (told,) = (problem for problem in plan.warnings if "left out" in problem.message)
    assert told.message.startswith("40 of 100 rows are left out: 30 with no trace of at least 8 tokens (rows.jsonl:2)")
    assert "; 10 with <think> and </think> that do not pair up (rows.jsonl:9)" in told.message


def test_rows_with_an_error_that_are_trained_on_are_warned_of_check_by_check() -> None:
    faults = (
        FaultCount(Check.UNBALANCED_THINK, RowCount(3, "rows.jsonl:2")),
        FaultCount(Check.ROLE_ORDER, RowCount(1, "rows.jsonl:9")),
    )
    plan = planned(dataset(faults=faults))
    assert isinstance(plan, TrainPlan), plan
    told = [problem for problem in plan.warnings if problem.code == "INPUT_DATASET_VALIDATION_FAILED"]
    assert [(problem.severity, problem.where) for problem in told] == [
        (Severity.WARNING, "rows.jsonl:2"),
        (Severity.WARNING, "rows.jsonl:9"),
    ]
    assert "are trained on with an error (unbalanced-think)" in told[0].message
    assert told[0].message.startswith("3 of 100 rows (3.0%)")


def test_traces_raise_the_length_unless_one_is_asked_for() -> None:
    model = world(model="Qwen/Qwen2.5-7B-Instruct").model
    raised = plan_sequence_length(ModelSettings(), model, origins=Origins(), has_traces=True)
    assert (raised.value, raised.rule) == (8192, "reasoning traces")
    given = Origins({"model.max_seq_length": Origin(Source.FLAG, "--max-seq-length")})
    assert plan_sequence_length(ModelSettings(), model, origins=given, has_traces=True).value == 2048
    asked = ModelSettings(max_seq_length=4096)
    assert plan_sequence_length(asked, model, origins=Origins(), has_traces=True).value == 4096
    assert plan_sequence_length(ModelSettings(), model, origins=Origins()).value == 2048
