"""``backprop runs`` for a person: one line a run, the newest first."""

from __future__ import annotations

from collections.abc import Iterator

from backprop.cli.style import Style, printable
from backprop.plan.runs.course import resume_command
from backprop.plan.runs.row import RunRow, RunsReport
from backprop.plan.settings.verbs.runs import RunStatus

_HEADER = ("run", "status", "steps", "loss", "held out", "model", "data")


def show(report: RunsReport, style: Style) -> str:
    """The table, and how many more there are."""
    if not report.runs:
        return f"No runs in {printable(report.output_dir)}."
    table = style.table([_row(run, style) for run in report.runs], header=_HEADER, right=(2, 3, 4))
    more = report.num_runs - len(report.runs)
    older = [style.dim(f"{more:,} older: --limit {report.num_runs}")] if more else []
    return "\n".join([table, *older, *_to_go_on(report, style)])


def _to_go_on(report: RunsReport, style: Style) -> Iterator[str]:
    """The newest run that can be continued, and how."""
    for run in report.resumable[:1]:
        command = printable(resume_command(run.run_id, output_dir=report.output_dir))
        yield style.dim(f"Interrupted and failed runs can be continued: {command}")


def status_text(status: RunStatus, style: Style) -> str:
    """The status in its colour."""
    paint = {
        RunStatus.COMPLETED: style.green,
        RunStatus.FAILED: style.red,
        RunStatus.INTERRUPTED: style.yellow,
        RunStatus.RUNNING: style.yellow,
    }
    return paint[status](status.value)


def _row(run: RunRow, style: Style) -> tuple[str, ...]:
    return (
        style.cyan(run.run_id),
        status_text(run.run_status, style),
        f"{run.steps_done}/{run.num_steps}",
        _loss(run.last_loss),
        _loss(run.best_loss),
        _last_part(run.model),
        _last_part(run.data),
    )


def _loss(loss: float | None) -> str:
    return "–" if loss is None else f"{loss:.4f}"


def _last_part(name: str) -> str:
    return printable(name.rstrip("/").rsplit("/", 1)[-1])
