"""``backprop train`` for a person: the plan before, the result after."""

from __future__ import annotations

from backprop.cli.progress import duration
from backprop.cli.style import Style, printable
from backprop.cli.views.mask import show_masks
from backprop.cli.views.plan import show_plan
from backprop.plan.events import Planned
from backprop.plan.runs.report import DryRunReport, TrainReport
from backprop.plan.settings.verbs.runs import RunStatus


def show(report: DryRunReport | TrainReport, style: Style) -> str:
    """The plan of a dry run with the rows that were asked for, or how the run ended."""
    if isinstance(report, DryRunReport):
        plan = show_planned(Planned(report.plan, report.examples), style)
        done = f" It goes on after step {report.from_step:,}." if report.from_step else ""
        return f"{plan}\n\nThis is the plan {report.fingerprint}; nothing was started.{done}"
    return _ended(report, style)


def show_planned(event: Planned, style: Style) -> str:
    """The plan that is about to be executed, with the rows that were asked for."""
    plan = show_plan(event.plan, style)
    return f"{plan}\n\n{show_masks(event.examples, style)}" if event.examples else plan


def _ended(report: TrainReport, style: Style) -> str:
    result = report.adapter or report.full_model
    if report.run_status is not RunStatus.COMPLETED or result is None:
        return ""  # the problem that stands on stderr says it all
    pairs = [
        ("run", report.run_id),
        ("steps", f"{report.steps_done:,} of {report.num_steps:,} in {duration(report.train_seconds)}"),
        ("loss", "?" if report.last_loss is None else f"{report.last_loss:.4f}"),
    ]
    if report.best_loss is not None:
        pairs.append(("best", f"{report.best_loss:.4f} held out, at step {report.best_step}"))
    where = printable(result)
    pairs += [("adapter" if report.adapter else "model", where), ("ask it", f'backprop generate {_quoted(where)} "…"')]
    return f"\n{style.pairs(pairs)}"


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path
