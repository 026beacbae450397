"""``backprop show-run`` for a person: how it went, its losses as a line, its files, its events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from backprop.cli.progress import duration, line_of
from backprop.cli.render import problem_text
from backprop.cli.style import Style, printable
from backprop.cli.views.plan import show_plan
from backprop.cli.views.runs import status_text
from backprop.plan.events import Evaluated, Failed, Interrupted, Step
from backprop.plan.runs.course import resume_command
from backprop.plan.runs.event_log import RecordedEvent
from backprop.plan.runs.shown import ShowRunReport


def show(report: ShowRunReport, style: Style) -> str:
    """The run from top to bottom; the losses of single steps are in ``--json``."""
    parts = [style.pairs(_head(report, style)), show_plan(report.plan, style)]
    if report.plan.warnings:
        parts.append("\n".join(problem_text(warning, style) for warning in report.plan.warnings))
    if report.settings:
        given = [(s.key, f"{printable(s.text)}  {style.dim(f'({s.name})')}") for s in report.settings]
        parts.append(f"{style.bold('Given')}\n{style.pairs(given, indent=2)}")
    if report.losses:
        parts.append(f"{style.bold('Losses')}\n{style.pairs(_losses(report, style), indent=2)}")
    if report.artefacts:
        sizes = [(printable(a.path), _size(a.num_bytes)) for a in report.artefacts]
        parts.append(
            f"{style.bold('Files')} in {printable(report.run_dir)}\n{style.table(sizes, right=(1,), indent=2)}"
        )
    events = [(style.dim(e.at), line) for e in report.events if (line := _event_line(e))]
    if events:
        parts.append(f"{style.bold('Events')}\n{style.table(events, indent=2)}")
    return "\n\n".join(parts)


def _head(report: ShowRunReport, style: Style) -> Iterator[tuple[str, str]]:
    yield "run", style.bold(report.run_id)
    yield "status", status_text(report.run_status, style)
    if report.problem is not None:
        yield "problem", f"[{report.problem.code}] {printable(report.problem.message)}"
    if report.resumable:
        yield "to go on", resume_command(report.run_id, output_dir=report.plan.output_dir)
    yield "began", report.created_at
    if report.ended_at:
        yield "ended", report.ended_at
    yield "steps", f"{report.steps_done:,} of {report.num_steps:,}"
    if report.resumed_from:
        yield "went on after", ", ".join(f"step {step}" for step in report.resumed_from)
    if report.train_seconds is not None:
        yield "trained for", duration(report.train_seconds)
    if report.adapter:
        yield "adapter", printable(report.adapter)
    if report.full_model:
        yield "model", printable(report.full_model)
    yield "plan", report.fingerprints.plan


def _losses(report: ShowRunReport, style: Style) -> Iterator[tuple[str, str]]:
    for name, pairs in (("training", report.losses), ("held out", report.heldout_losses)):
        if pairs:
            yield name, _course([loss for _, loss in pairs], style)
    yield from _rewards(report, style)
    if report.best_loss is not None:
        yield "best", f"{report.best_loss:.4f} at step {report.best_step}"


def _rewards(report: ShowRunReport, style: Style) -> Iterator[tuple[str, str]]:
    """How far better answers are ahead of worse ones, and how often, where a preference method judges them."""
    for name, kind in (("", Step), ("held-out ", Evaluated)):
        judged = [e.event.rewards for e in report.events if isinstance(e.event, kind) and e.event.rewards is not None]
        if margins := [rewards.margin for rewards in judged if rewards.margin is not None]:
            yield f"{name}margin", _course(margins, style, "+.4f")
        if judged:
            yield f"{name}right", _course([rewards.accuracy for rewards in judged], style, ".0%")


def _course(values: Sequence[float], style: Style, form: str = ".4f") -> str:
    first, last = f"{values[0]:{form}}", f"{values[-1]:{form}}"
    return last if len(values) == 1 else f"{first} {style.sparkline(values)} {last}"


def _event_line(recorded: RecordedEvent) -> str | None:
    event = recorded.event
    if isinstance(event, Step):
        return None
    if isinstance(event, Interrupted):
        return f"interrupted at step {event.step}"
    if isinstance(event, Failed):
        return f"failed at step {event.step}: [{event.code}] {printable(event.message)}"
    line = line_of(event)
    return printable(line) if line else None


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.1f} MiB" if num_bytes >= 2**20 else f"{num_bytes / 2**10:,.1f} KiB"
