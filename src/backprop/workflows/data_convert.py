"""``backprop data convert``: the rows of a data set in another layout, written whole or not at all."""

from __future__ import annotations

import attrs

from backprop.effects.files.atomic import replacing
from backprop.effects.files.rows import json_row
from backprop.effects.files.rows.raw_row import SAVE_AS_UTF8
from backprop.effects.probe.row_source import ReadRow, source_of
from backprop.plan.data.conversation import RowError
from backprop.plan.data.converting import Target, convert_example, holding
from backprop.plan.data.shown import ConvertReport
from backprop.plan.decision import Problem, warning
from backprop.plan.errors import BackpropError
from backprop.plan.settings.verbs.data_convert import DataConvertSettings
from backprop.plan.wire.outcome import Outcome, ok
from backprop.workflows.request import Request
from backprop.workflows.row_outputs import JSON_LINES, idle_of, output_file

COMMAND = "data convert"
NUM_NAMED = 3
"""Rows that a refusal names; the others are counted."""


def run(request: Request[DataConvertSettings]) -> Outcome:
    """Read, convert, write; a row that the layout cannot hold refuses the whole, unless bad rows are to be skipped."""
    settings = request.settings
    source = source_of(settings)
    out = output_file(settings.out, source, settings.to.value, kinds=JSON_LINES, flag="--out")
    bad: list[Problem] = []
    num_written = num_bad = 0
    with replacing(out) as stream:
        for row in source.rows():
            line = _line(row, settings.to, skips=settings.skip_bad_rows)
            if isinstance(line, bytes):
                stream.write(line)
                num_written += 1
            else:
                num_bad += 1
                bad += [line] if num_bad <= NUM_NAMED else []
        if (num_bad and not settings.skip_bad_rows) or not num_written:
            raise BackpropError(*bad, *_more(num_bad))
    report = ConvertReport(source.name, str(out), source.layout.value, settings.to.value, num_written, num_bad)
    idle = idle_of(request.origins, source)
    return ok(COMMAND, report, warnings=(*idle, *request.warnings, *_skipped(num_bad)))


def _line(row: ReadRow, target: Target, *, skips: bool) -> bytes | Problem:
    if row.example is None:
        assert row.problem is not None, "a row is read or says why not"
        return _of_data(row.problem)
    try:
        return json_row(convert_example(row.example, target))
    except RowError as wrong:
        message = f"{row.where} cannot be written as {target.value}: {wrong}."
        hint = _hint(holding(row.example), skips=skips)
        return Problem("INPUT_DATASET_VALIDATION_FAILED", message, where=row.where, hint=hint)


def _of_data(problem: Problem) -> Problem:
    """A row that cannot be read is a fault of the data, but for bytes that are no text, which are one of the file."""
    if problem.hint == SAVE_AS_UTF8:
        return problem
    return attrs.evolve(problem, code="INPUT_DATASET_VALIDATION_FAILED")


def _hint(layouts: tuple[Target, ...], *, skips: bool) -> str:
    """Only what helps: layouts that hold the row, and leaving it out where that is not done already."""
    ways = [f"choose --to {' or '.join(layout.value for layout in layouts)}, which can hold it"] if layouts else []
    ways += [] if skips else ["leave such rows out with --skip-bad-rows"]
    told = ", or ".join(ways) or "convert other rows: no layout of --to can hold these"
    return f"{told[0].upper()}{told[1:]}."


def _more(num_bad: int) -> tuple[Problem, ...]:
    if num_bad <= NUM_NAMED:
        return ()
    message = f"So it is with {num_bad - NUM_NAMED:,} more rows."
    return (Problem("INPUT_DATASET_VALIDATION_FAILED", message),)


def _skipped(num_bad: int) -> tuple[Problem, ...]:
    if not num_bad:
        return ()
    left = "1 row was" if num_bad == 1 else f"{num_bad:,} rows were"
    return (warning("INPUT_DATASET_VALIDATION_FAILED", f"{left} left out.", where="--skip-bad-rows"),)
