"""A problem as a person reads it."""

from __future__ import annotations

from backprop.cli.style import Style, printable
from backprop.plan.decision import Problem, Severity
from backprop.plan.errors import hint_for
from backprop.plan.redaction import redact


def problem_text(problem: Problem, style: Style) -> str:
    """``[CODE] message`` with the hint on the next line, secrets masked."""
    is_error = problem.severity is Severity.ERROR
    paint = style.red if is_error else style.yellow
    message = ("" if is_error else "Warning: ") + printable(redact(problem.message))
    hint = printable(redact(hint_for(problem)))
    where = printable(redact(problem.where))
    place = f" ({where})" if where and where not in message and where not in hint else ""
    return f"{paint(f'[{problem.code}]')} {message}{place}" + (f"\n  {style.dim(hint)}" if hint else "")
