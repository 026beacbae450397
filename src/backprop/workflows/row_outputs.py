"""The files that the verbs on data write, and what they say of rows that they left out."""

from __future__ import annotations

from pathlib import Path

from backprop.effects.files.output_path import check_output
from backprop.effects.files.rows import kind_of
from backprop.effects.probe.row_clusters import ClusteredRows
from backprop.effects.probe.row_source import RowSource, beside
from backprop.plan.decision import Problem, Severity, warning


def output_file(asked: str | None, source: RowSource, part: str, *, flag: str, others: tuple[Path, ...] = ()) -> Path:
    """The file that was asked for, or one beside the data set: ``<stem>.<part>.jsonl``, for text ``.txt``.

    Raises INPUT_VALIDATION_FAILED for the data set itself, a file that another output has, and what is no file.
    """
    ending = ".txt" if kind_of(source.paths[0]) == ".txt" else ".jsonl"
    path = Path(asked).expanduser() if asked is not None else beside(source, f".{part}{ending}")
    check_output(path, flag=flag, dataset=source.paths, written=others)
    return path


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
