"""Judging every row of a data set, in blocks that processes share; what is found does not depend on their number."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import attrs

from backprop.effects.files.rows import Block, RawRow, Stamp, blocks_of, check_file, rows_of
from backprop.effects.probe.row_layout import stamped_rows, tell_layout
from backprop.effects.probe.row_lengths import LengthCheck, length_findings
from backprop.effects.processes.block_workers import map_blocks
from backprop.effects.processes.cpus import num_cpus
from backprop.plan.data.certain import is_plain_line, is_usual_row
from backprop.plan.data.check import Finding, make_finding
from backprop.plan.data.conversation import Rated
from backprop.plan.data.excerpt import excerpt
from backprop.plan.data.judge import Judged, RowJudge
from backprop.plan.data.layout import Detection, Layout
from backprop.plan.data.tally import Limits, Tally, has_error
from backprop.plan.errors import BackpropError

_LENGTH_BATCH = 256


@attrs.frozen
class BlockJudge:
    """How the rows of a block are judged."""

    rows: RowJudge
    lengths: LengthCheck | None = None


def observe_layout(paths: tuple[Path, ...], *, text_column: str, stamps: tuple[Stamp, ...] | None = None) -> Detection:
    """The layout that the first rows tell.

    Raises ``BackpropError`` when a file cannot be read, or is not that of its stamp.
    """
    return tell_layout(stamped_rows(paths, stamps or tuple(map(check_file, paths))), text_column=text_column)


def judge_rows(
    paths: tuple[Path, ...],
    judge: BlockJudge,
    limits: Limits,
    *,
    stamps: tuple[Stamp, ...] | None = None,
    num_processes: int | None = None,
) -> Tally:
    """Everything found in the rows, up to the limits.

    The result does not depend on ``num_processes`` (by default one a processor). Memory is bounded by a few blocks.
    Raises ``BackpropError`` when a file cannot be read, or is not that of its stamp.
    """
    total = Tally(limits)
    expected = stamps or tuple(map(check_file, paths))
    blocks = itertools.chain.from_iterable(
        blocks_of(path, expected=stamp) for path, stamp in zip(paths, expected, strict=True)
    )
    work = partial(judge_block, judge=judge, limits=limits)
    with closing(map_blocks(work, blocks, num_processes=num_processes or num_cpus())) as found:
        for block, tally in found:
            if total.has_room_for(tally):
                total.extend(tally)
            else:  # a limit falls within this block, so it is judged once more, up to there
                total.extend(judge_block(block, judge=judge, limits=total.left))
            if total.is_full:
                total.leaves_rows = total.leaves_rows or _has_more(found)
                break
    return total


def _has_more(found: Iterator[object]) -> bool:
    """Whether there is a further block; what follows and cannot be read is one too, and does not matter otherwise."""
    try:
        return next(found, None) is not None
    except BackpropError:
        return True


def judge_block(block: Block, *, judge: BlockJudge, limits: Limits) -> Tally:
    """What is found in the rows of a block, up to the limits."""
    tally = Tally(limits)
    if judge.lengths is not None:
        _judge_with_lengths(block, judge.rows, judge.lengths, tally)
        return tally
    layout, text_column = judge.rows.layout, judge.rows.text_column
    for row in rows_of(block):
        if tally.is_full:
            tally.leaves_rows = True
            break
        if layout is not None and _is_certain(row, layout, text_column):
            tally.add_fine(row.value["label"] if layout is Layout.KTO else None)
        else:
            judged = judge_raw(row, judge.rows)
            tally.add(judged.findings, label=_label(judged), layout=judged.layout)
    return tally


def _is_certain(row: RawRow, layout: Layout, text_column: str) -> bool:
    return (
        row.raw is not None
        and row.problem is None
        and is_plain_line(row.raw)
        and is_usual_row(row.value, layout, text_column=text_column)
    )


def _judge_with_lengths(block: Block, judge: RowJudge, lengths: LengthCheck, tally: Tally) -> None:
    """Rows in batches, since tokenizers are fast at many texts at once; one with an error needs no length."""
    rows = rows_of(block)
    while batch := list(itertools.islice(rows, _LENGTH_BATCH)):
        judged = [judge_raw(row, judge) for row in batch]
        sound = [None if has_error(j.findings) else j.example for j in judged]
        long = length_findings(list(zip(batch, sound, strict=True)), lengths)
        for number, (one, more) in enumerate(zip(judged, long, strict=True), start=1):
            tally.add((*one.findings, *more), label=_label(one), layout=one.layout)
            if tally.is_full:
                tally.leaves_rows = number < len(batch) or next(rows, None) is not None
                return


def judge_raw(row: RawRow, judge: RowJudge) -> Judged:
    """What is wrong with a row as the file holds it."""
    if row.problem is not None:
        return Judged((_unreadable(row),))
    return judge.judge(row.value, where=row.where, line=row.line)


def _label(judged: Judged) -> bool | None:
    return judged.example.label if isinstance(judged.example, Rated) else None


def _unreadable(row: RawRow) -> Finding:
    assert row.problem is not None
    message = row.problem.message.removeprefix(f"{row.where} ").removesuffix(".")
    shown = excerpt((row.raw or b"")[:400].decode("utf-8", "replace"))
    return make_finding(row.check, message, where=row.where, line=row.line, excerpt=shown)
