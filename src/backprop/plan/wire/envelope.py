"""The one JSON shape that every command prints: flat, with the command's own fields at the top level."""

from __future__ import annotations

import json
from typing import Any

from backprop.plan.decision import Problem
from backprop.plan.errors import CATALOGUE, hint_for
from backprop.plan.redaction import redact
from backprop.plan.wire.outcome import SCHEMA_VERSION, Outcome
from backprop.plan.wire.plain import plain_data


def envelope(outcome: Outcome) -> dict[str, Any]:
    """The outcome as a JSON object; the report's own fields follow the common ones."""
    report = plain_data(outcome.report) if outcome.report is not None else {}
    common = {
        "schema_version": SCHEMA_VERSION,
        "command": outcome.command,
        "status": outcome.status.value,
        "exit_code": outcome.exit_code,
        "problems": [problem_data(p) for p in outcome.problems],
    }
    assert not common.keys() & report.keys(), "a report does not shadow the envelope's own fields"
    return {**common, **report}


def problem_data(problem: Problem) -> dict[str, Any]:
    """A problem as the envelope and the JSON log show it, secrets masked; a want of memory with its numbers."""
    shortage = {} if problem.shortage is None else {"shortage": plain_data(problem.shortage)}
    return {
        "code": problem.code,
        "severity": problem.severity.value,
        "message": redact(problem.message),
        "where": redact(problem.where),
        "hint": redact(hint_for(problem)),
        "retryable": CATALOGUE[problem.code].retryable,
        **shortage,
    }


def envelope_json(outcome: Outcome) -> str:
    """The envelope as one line of JSON, newline included."""
    return _json_line(envelope(outcome)) + "\n"


def problem_json(problem: Problem) -> str:
    """A problem as one line of JSON for the log, without the newline."""
    return _json_line(problem_data(problem))


def _json_line(data: Any) -> str:
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, out of an argument that is not UTF-8
        return json.dumps(data, allow_nan=False)
    return text
