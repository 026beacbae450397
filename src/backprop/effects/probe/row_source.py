"""Where the rows of a data set come from: files or the Hub, with the layout told from the first rows."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import attrs

from backprop.effects.files.rows import KINDS, RawRow, Stamp, check_file, kind_of, stem_of
from backprop.effects.probe.hub import fetch_dataset
from backprop.effects.probe.row_layout import ROWS_TO_READ, stamped_rows, tell_layout
from backprop.plan.data.answers import LAYOUTS
from backprop.plan.data.check import Check
from backprop.plan.data.conversation import Example, RowError
from backprop.plan.data.judge import other_layout_text
from backprop.plan.data.layout import JUDGED, Layout, describe_keys, other_layout
from backprop.plan.data.rows import read_row
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.data import ChatFormat, DataSettings, RowFormat
from backprop.plan.settings.nearest import nearest

_HUB_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)?(?::[^:/\\]+)?")
"""``owner/name``, or ``owner/name:configuration``."""


@attrs.frozen
class ReadRow:
    """A row in its normal form, or the problem that stands in its place."""

    where: str
    example: Example | None
    problem: Problem | None = None


@attrs.frozen
class RowSource:
    """The rows of one data set; they can be read more than once."""

    name: str
    """As the user gave it; for a file the absolute path."""
    paths: tuple[Path, ...]
    layout: Layout
    text_column: str
    is_told: bool
    """The layout was told from the first rows, so that a row of another one is a mistake."""
    stamps: tuple[Stamp, ...]
    """The files as they were found: a reading of others is refused."""

    def rows(self) -> Iterator[ReadRow]:
        """Every row in order."""
        for raw in stamped_rows(self.paths, self.stamps):
            yield self.read(raw)

    def read(self, raw: RawRow) -> ReadRow:
        """A row of one of the files in its normal form."""
        if raw.problem is not None:
            return ReadRow(raw.where, None, raw.problem)
        try:
            if self.is_told:
                self._check_layout(raw)
            return ReadRow(raw.where, read_row(raw.value, self.layout, text_column=self.text_column))
        except RowError as wrong:
            return ReadRow(raw.where, None, row_problem(raw.where, str(wrong)))

    def _check_layout(self, raw: RawRow) -> None:
        found = other_layout(raw.value, self.layout, text_column=self.text_column)
        if found is not None:
            raise RowError(other_layout_text(found, self.layout), Check.LAYOUT)


def row_problem(where: str, reason: str) -> Problem:
    """A row that cannot be trained on."""
    return Problem("INPUT_DATASET_INVALID", f"{where}: {reason}.", where=where)


def open_source(name: str, settings: DataSettings, *, flag: str, method: Objective = Objective.SFT) -> RowSource:
    """The data set ``name``, which ``flag`` gave, to be trained on with ``method``.

    Raises ``BackpropError`` when it does not exist or its rows are in no layout that the method learns from.
    """
    source = open_rows(
        name,
        format=settings.chat_format,
        text_column=settings.text_column,
        split=settings.dataset_split,
        flag=flag,
    )
    if source.layout not in LAYOUTS[method]:
        kind = JUDGED.get(source.layout, f"in the layout {source.layout.value}, one answer each")
        message = f"The rows of {source.name} are {kind}, which --method {method.value} cannot learn from."
        fitting = [other.value for other, layouts in LAYOUTS.items() if source.layout in layouts]
        hint = f"Use --method {' or '.join(fitting)}, or give {_WANTED[method]}."
        raise _unsupported(message, source.name, hint)
    return source


_PAIRS = "rows with chosen and rejected answers"
_WANTED = {
    Objective.SFT: "rows that each hold one answer: messages, instruction/output, prompt/completion or text",
    Objective.ORPO: _PAIRS,
    Objective.SIMPO: _PAIRS,
    Objective.KTO: "rows with prompt, completion and label",
}


class OnRows(Protocol):
    """Settings of a verb that works on the rows of one data set."""

    @property
    def dataset(self) -> str: ...

    @property
    def format(self) -> RowFormat: ...

    @property
    def data(self) -> DataSettings: ...


def source_of(settings: OnRows) -> RowSource:
    """The data set that a verb is about. Raises as :func:`open_rows`."""
    data = settings.data
    return open_rows(
        settings.dataset,
        format=settings.format,
        text_column=data.text_column,
        split=data.dataset_split,
        flag="DATASET",
    )


def open_rows(name: str, *, format: ChatFormat | RowFormat, text_column: str, split: str, flag: str) -> RowSource:
    """The data set ``name``, which ``flag`` gave: a file if there is one, else a Hub data set.

    Raises ``BackpropError`` when it does not exist or its rows are in no layout that is known.
    """
    paths, shown = locate_dataset(name, split, flag=flag)
    stamps = tuple(map(check_file, paths))
    is_told = format.value == "auto"
    layout = None if is_told else Layout(format.value)
    if layout is None:
        layout = tell_layout(stamped_rows(paths, stamps), text_column=text_column).layout
    if layout is None:
        raise _no_layout(stamped_rows(paths, stamps), shown)
    return RowSource(shown, paths, layout, text_column, is_told, stamps)


def is_local(shown: str) -> bool:
    """Whether a data set that :func:`locate_dataset` called so is a file, not one on the Hub."""
    return Path(shown).is_absolute()


def beside(source: RowSource, ending: str) -> Path:
    """A file named after the data set: next to its file, or for one on the Hub in the working directory."""
    if is_local(source.name):
        return source.paths[0].with_name(stem_of(source.paths[0]) + ending)
    return Path(source.name.rsplit("/", 1)[-1].replace(":", "-") + ending)


def locate_dataset(name: str, split: str, *, flag: str) -> tuple[tuple[Path, ...], str]:
    """(the files of a data set, how it is called): a file if there is one of this name, else a Hub data set.

    Raises ``BackpropError`` when it does not exist.
    """
    try:
        path = Path(name).expanduser()
        if path.exists() or path.is_symlink():
            check_file(path)
            return (path.resolve(),), str(path.resolve())
    except (OSError, RuntimeError) as error:
        # A name that the system cannot look up: too long, or with the home of somebody who does not exist.
        message = f"{name[:200]} is not a file: {error.args[-1]}."
        raise BackpropError(Problem("INPUT_DATASET_NOT_FOUND", message, where=flag)) from error
    # Names on the Hub that have no owner have no suffix either.
    is_file_name = kind_of(path) in KINDS or (path.suffix and "/" not in name)
    if is_file_name or not _HUB_NAME.fullmatch(name):
        raise _not_found(path, flag)
    return fetch_dataset(name, split), name


def _not_found(path: Path, flag: str) -> BackpropError:
    # By their stems: the endings, which most files share, make any two names look alike.
    files = [entry for entry in path.parent.iterdir() if entry.is_file()] if path.parent.is_dir() else []
    stem = nearest(stem_of(path), {stem_of(entry) for entry in files})
    close = nearest(path.name, [entry.name for entry in files if stem_of(entry) == stem]) if stem else None
    meant = f" Did you mean {path.parent / close}?" if close else ""
    return BackpropError(Problem("INPUT_DATASET_NOT_FOUND", f"There is no file {path}.{meant}", where=flag))


def _no_layout(rows: Iterator[RawRow], name: str) -> BackpropError:
    """Why the first rows tell no layout: none of them can be read, or what those have is not known."""
    problems: list[Problem] = []
    for row in itertools.islice(rows, ROWS_TO_READ):
        if row.problem is None:
            message = f"The rows of {name} are in no layout that is known: the first has {describe_keys(row.value)}."
            return _unsupported(message, row.where, "Name the column of raw text with --text-column, or " + _RENAME)
        problems += [row.problem] if len(problems) < _PROBLEMS_NAMED else []
    return BackpropError(*problems)


_PROBLEMS_NAMED = 3


_RENAME = "rename the fields to messages, conversations, instruction/output, prompt/completion or text."


def _unsupported(message: str, where: str, hint: str) -> BackpropError:
    return BackpropError(Problem("INPUT_DATASET_FORMAT_UNSUPPORTED", message, where=where, hint=hint))
