"""``backprop data show`` for a person: the turns, then the text that the model reads with what it learns."""

from __future__ import annotations

from backprop.cli.style import Style, printable
from backprop.cli.views.mask import show_masks
from backprop.plan.data.shown import Part, ShowReport, Turn


def show(report: ShowReport, style: Style) -> str:
    """One part under the other."""
    title = f"{style.bold(printable(report.where))}  {style.dim(f'row {report.row:,}, {report.layout}')}"
    parts = [title, *(_part(part, style) for part in report.parts)]
    if report.rendered is not None:
        parts.append(f"{style.bold('As the template writes it')}\n{printable(report.rendered)}")
    if report.mask is not None:
        parts.append(f"{style.bold('As tokens')}\n{show_masks((report.mask,), style)}")
    return "\n\n".join(parts)


def _part(part: Part, style: Style) -> str:
    turns = "\n".join(_turn(turn, style) for turn in part.turns)
    return f"{style.bold(part.title)}\n{turns}" if part.title else turns


def _turn(turn: Turn, style: Style) -> str:
    mark = style.green(" learned") if turn.learned else ""
    others = style.dim(f" (with {', '.join(turn.others)})") if turn.others else ""
    reasoning = f"{style.dim(printable(turn.reasoning))}\n" if turn.reasoning else ""
    return f"{style.cyan(turn.role)}{mark}{others}\n{reasoning}{printable(turn.content)}"
