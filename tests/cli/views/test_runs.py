"""Runs, one run, and the end of a run, as a person reads them."""

from __future__ import annotations

import attrs

from backprop.cli.style import Style
from backprop.cli.views import runs, show_run, train
from backprop.plan.decision import warning
from backprop.plan.events import Evaluated, Failed, Interrupted, Rewards, Started, Step
from backprop.plan.runs.event_log import RecordedEvent
from backprop.plan.runs.record import RunProblem, RunRecord, row_of
from backprop.plan.runs.report import DryRunReport, TrainReport
from backprop.plan.runs.row import RunsReport
from backprop.plan.runs.shown import Artefact, ShowRunReport
from backprop.plan.runs.shown import show_run as report_on
from backprop.plan.settings.verbs.runs import RunStatus
from tests.plan.runs.examples import a_record

STYLE = Style(width=200)
FAILED = a_record(
    run_status=RunStatus.FAILED, num_steps=100, steps_done=40, problem=RunProblem("RUNTIME_DISK_FULL", "Full.")
)


def step(number: int, loss: float) -> Step:
    return Step(number, 100, 0.1, loss, 1e-4, None, 50.0, None)


def shown(record: RunRecord, *events: object) -> str:
    recorded = tuple(RecordedEvent("2026-01-01T00:00:00Z", event) for event in events)  # type: ignore[arg-type]
    report: ShowRunReport = report_on(
        record, recorded, run_dir="out/runs/x", artefacts=(Artefact("adapter", 3 << 20), Artefact("record.json", 2048))
    )
    return show_run.show(report, STYLE)


def test_runs_are_a_table_with_the_number_of_those_not_shown() -> None:
    text = runs.show(RunsReport((row_of(FAILED),), 7, "out"), STYLE)
    header, line, more, to_go_on = text.splitlines()
    assert header.split()[:3] == ["run", "status", "steps"]
    assert line.split()[:3] == [FAILED.run_id, "failed", "40/100"]
    assert "6 older: --limit 7" in more
    assert f"backprop resume {FAILED.run_id} --output out" in to_go_on


def test_an_interrupted_run_is_listed_as_that_and_a_complete_one_offers_nothing() -> None:
    stopped = attrs.evolve(row_of(FAILED), run_status=RunStatus.INTERRUPTED)
    assert "interrupted" in runs.show(RunsReport((stopped,), 1, "out"), STYLE)
    complete = attrs.evolve(stopped, run_status=RunStatus.COMPLETED)
    assert "resume" not in runs.show(RunsReport((complete,), 1, "out"), STYLE)


def test_no_runs_is_a_sentence() -> None:
    assert runs.show(RunsReport((), 0, "./output"), STYLE) == "No runs in ./output."


def test_a_failed_run_tells_why_and_how_to_go_on() -> None:
    text = shown(FAILED, Started(FAILED.run_id, 100), Failed(40, "RUNTIME_DISK_FULL", "Full."))
    assert "[RUNTIME_DISK_FULL] Full." in text
    assert f"backprop resume {FAILED.run_id}" in text
    assert "failed at step 40" in text


def test_a_complete_run_offers_nothing_to_resume() -> None:
    assert "to go on" not in shown(attrs.evolve(FAILED, run_status=RunStatus.COMPLETED, problem=None))


def test_losses_are_a_course_and_files_have_sizes() -> None:
    text = shown(FAILED, step(10, 2.0), step(20, 1.0), Evaluated(20, 1.5, 10, is_best=True), Interrupted(20))
    assert "2.0000 █▁ 1.0000" in text
    assert "held out" in text
    assert "3.0 MiB" in text
    assert "2.0 KiB" in text
    assert "interrupted at step 20" in text


def test_a_preference_run_shows_how_far_better_answers_are_ahead() -> None:
    behind, ahead = Rewards(1.0, 1.5, 0.25), Rewards(2.0, 1.5, 0.75)
    steps = (attrs.evolve(step(10, 2.0), rewards=behind), attrs.evolve(step(20, 1.0), rewards=ahead))
    one_sided = Evaluated(20, 1.5, 10, is_best=True, rewards=Rewards(None, 1.5, 0.5))
    lines = [line.split() for line in shown(FAILED, *steps, one_sided).splitlines()]
    assert ["margin", "-0.5000", "▁█", "+0.5000"] in lines
    assert ["right", "25%", "▁█", "75%"] in lines
    assert ["held-out", "right", "50%"] in lines
    assert not any(line[:2] == ["held-out", "margin"] for line in lines)


def test_what_a_run_was_warned_of_can_be_read_again() -> None:
    plan = attrs.evolve(FAILED.plan, warnings=(warning("INPUT_EPOCHS_MANY", "Often.", hint="Less."),))
    assert "[INPUT_EPOCHS_MANY] Warning: Often.\n  Less." in shown(attrs.evolve(FAILED, plan=plan))


def a_report(**changes: object) -> TrainReport:
    report = TrainReport(
        run_id="r",
        run_status=RunStatus.COMPLETED,
        run_dir="out/runs/r",
        adapter="out/my runs/r/adapter",
        full_model=None,
        steps_done=9,
        num_steps=10,
        last_loss=1.25,
        best_loss=1.5,
        best_step=6,
        train_seconds=61.0,
        fingerprint="f",
        plan=FAILED.plan,
    )
    return attrs.evolve(report, **changes)  # type: ignore[arg-type]


def test_a_finished_run_says_what_to_do_with_it() -> None:
    text = train.show(a_report(), STYLE)
    assert "9 of 10 in 1:01" in text
    assert "1.5000 held out, at step 6" in text
    assert 'backprop generate "out/my runs/r/adapter"' in text


def test_a_finished_full_run_names_its_model() -> None:
    text = train.show(a_report(adapter=None, full_model="out/runs/r/model"), STYLE)
    assert "backprop generate out/runs/r/model" in text
    assert "adapter" not in text


def test_a_run_that_did_not_finish_leaves_the_word_to_its_problem() -> None:
    assert train.show(a_report(run_status=RunStatus.FAILED, adapter=None), STYLE) == ""


def test_a_dry_run_says_that_nothing_was_started() -> None:
    text = train.show(DryRunReport(FAILED.plan, "abc"), STYLE)
    assert text.endswith("This is the plan abc; nothing was started.")
