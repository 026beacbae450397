"""Judging every row of a data set, in blocks that processes share; what is found does not depend on their number."""

from __future__ import annotations

import itertools
from contextlib import closing
from functools import partial
from pathlib import Path

import attrs

from backprop.effects.files.rows import Block, RawRow, blocks_of, read_rows, rows_of
from backprop.effects.files.rows.lines import SAVE_AS_UTF8
from backprop.effects.probe.row_lengths import LengthCheck, length_findings
from backprop.effects.processes.block_workers import map_blocks
from backprop.effects.processes.cpus import num_cpus
from backprop.plan.data.certain import is_plain_line, is_usual_row
from backprop.plan.data.check import Check, Finding, make_finding
from backprop.plan.data.conversation import Rated
from backprop.plan.data.excerpt import excerpt
from backprop.plan.data.judge import Judged, RowJudge
from backprop.plan.data.layout import ROWS_TO_TELL, Detection, Layout, detect_layout
from backprop.plan.data.tally import Limits, Tally, has_error

_ROWS_TO_READ = 1000
"""Rows among which those are looked for that tell the layout."""
_LENGTH_BATCH = 256


@attrs.frozen
class BlockJudge:
    """How the rows of a block are judged."""

    rows: RowJudge
    lengths: LengthCheck | None = None


def observe_layout(paths: tuple[Path, ...], *, text_column: str) -> Detection:
    """The layout that the first rows tell. Raises ``BackpropError`` when a file cannot be read."""
    first = itertools.islice(itertools.chain.from_iterable(map(read_rows, paths)), _ROWS_TO_READ)
    readable = itertools.islice((row.value for row in first if row.problem is None), ROWS_TO_TELL)
    return detect_layout(readable, text_column=text_column)


def judge_rows(
    paths: tuple[Path, ...], judge: BlockJudge, limits: Limits, *, num_processes: int | None = None
) -> Tally:
    """Everything found in the rows, up to the limits.

    The result does not depend on ``num_processes`` (by default one a processor). Memory is bounded by a few blocks.
    Raises ``BackpropError`` when a file cannot be read.
    """
    total = Tally(limits)
    blocks = itertools.chain.from_iterable(map(blocks_of, paths))
    work = partial(judge_block, judge=judge, limits=limits)
    with closing(map_blocks(work, blocks, num_processes=num_processes or num_cpus())) as found:
        for block, tally in found:
            if total.has_room_for(tally):
                total.extend(tally)
            else:  # a limit falls within this block, so it is judged once more, up to there
                total.extend(judge_block(block, judge=judge, limits=total.left))
            if total.is_full:
                break
    return total


def judge_block(block: Block, *, judge: BlockJudge, limits: Limits) -> Tally:
    """What is found in the rows of a block, up to the limits."""
    tally = Tally(limits)
    if judge.lengths is not None:
        _judge_with_lengths(block, judge.rows, judge.lengths, tally)
        return tally
    layout, text_column = judge.rows.layout, judge.rows.text_column
    for row in rows_of(block):
        if tally.is_full:
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
        for one, more in zip(judged, long, strict=True):
            tally.add((*one.findings, *more), label=_label(one), layout=one.layout)
            if tally.is_full:
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
    check = Check.ENCODING if row.problem.hint == SAVE_AS_UTF8 else Check.UNREADABLE
    message = row.problem.message.removeprefix(f"{row.where} ").removesuffix(".")
    shown = excerpt((row.raw or b"")[:400].decode("utf-8", "replace"))
    return make_finding(check, message, where=row.where, line=row.line, excerpt=shown)
