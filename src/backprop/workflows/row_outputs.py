"""The files that the verbs on data write, and what they say of rows that they left out."""

from __future__ import annotations

from pathlib import Path

from backprop.effects.files.output_path import check_output
from backprop.effects.files.rows import kind_of
from backprop.effects.probe.row_clusters import ClusteredRows
from backprop.effects.probe.row_source import RowSource, beside, is_local
from backprop.plan.decision import Problem, Severity, warning
from backprop.plan.errors import BackpropError
from backprop.plan.settings.idle import Lack, idle_flags
from backprop.plan.settings.resolve import Origins

JSON_LINES = (".jsonl", ".ndjson")
"""Suffixes of a file that holds a row of JSON a line."""
_TEXT = (".txt",)


def kinds_of_rows(source: RowSource) -> tuple[str, ...]:
    """Suffixes that say what is written when rows are copied: lines of text as they stand, others as JSON."""
    return _TEXT if kind_of(source.paths[0]) in _TEXT else JSON_LINES


def output_file(
    asked: str | None,
    source: RowSource,
    part: str,
    *,
    kinds: tuple[str, ...],
    flag: str,
    others: tuple[Path, ...] = (),
) -> Path:
    """The file that was asked for, or one beside the data set: ``<stem>.<part>`` and the first of ``kinds``.

    Raises INPUT_VALIDATION_FAILED for a suffix that says another kind than ``kinds``, by which the file would be read
    as what it is not; for the data set itself, and for a file that another output has.
    """
    path = Path(asked).expanduser() if asked is not None else beside(source, f".{part}{kinds[0]}")
    check_output(path, flag=flag, dataset=source.paths, written=others)
    if path.suffix.lower() not in kinds:
        what = "lines of text" if kinds == _TEXT else "a row of JSON a line"
        message = f"{path} has a suffix of another kind: what is written is {what}."
        hint = f"Name a file that ends in {' or '.join(kinds)} with {flag}."
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", message, where=flag, hint=hint))
    return path


def idle_of(origins: Origins, source: RowSource, *, exact_only: bool = False) -> tuple[Problem, ...]:
    """Warnings of flags that were given and change nothing."""
    return idle_flags(origins, {Lack.SIMILARITY: exact_only, Lack.SPLITS: is_local(source.name)})


def broken_rows(rows: ClusteredRows) -> tuple[Problem, ...]:
    """Warnings of the rows that could not be read: the first, and how many more there are."""
    named = tuple(
        Problem(problem.code, problem.message, problem.where, problem.hint, Severity.WARNING) for problem in rows.broken
    )
    more = rows.num_broken - len(named)
    if not more:
        return named
    left = "1 more row" if more == 1 else f"{more:,} more rows"
    return (*named, warning("INPUT_DATASET_PARSE_FAILED", f"{left} could not be read; none of them was written."))
