"""A problem as a person reads it."""

from __future__ import annotations

from backprop.cli.style import Style, printable
from backprop.plan.decision import Problem, Severity
from backprop.plan.errors import hint_for
from backprop.plan.redaction import redact


def problem_text(problem: Problem, style: Style) -> str:
    """``[CODE] message`` with the hint on the next line, secrets masked."""
    paint = style.red if problem.severity is Severity.ERROR else style.yellow
    message = printable(redact(problem.message))
    hint = printable(redact(hint_for(problem)))
    where = printable(redact(problem.where))
    place = f" ({where})" if where and where not in message and where not in hint else ""
    return f"{paint(f'[{problem.code}]')} {message}{place}" + (f"\n  {style.dim(hint)}" if hint else "")
