"""One pass over a data set for its report, in blocks that processes share.

What is found depends neither on the number of processes nor on the blocks. In memory are a few blocks, the sums, and of
each row its line, its digest and what the search for duplicates needs.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import attrs
import numpy as np

from backprop.effects.files.rows import Block, Stamp, blocks_of, check_file, rows_of
from backprop.effects.probe.duplicates import DuplicateFinder, Duplicates
from backprop.effects.probe.row_places import RowPlaces, pack_place
from backprop.effects.probe.row_quality import RowMeter, example_of
from backprop.effects.probe.validation import observe_layout
from backprop.effects.processes.block_workers import map_blocks
from backprop.effects.processes.cpus import num_cpus
from backprop.plan.data.compared import compared_text, digests_of
from backprop.plan.data.excerpt import excerpt
from backprop.plan.data.judge import RowJudge
from backprop.plan.data.layout import Layout
from backprop.plan.data.pii import find_pii
from backprop.plan.data.quality_report import Cluster, ContaminationFacts, DuplicateFacts, ScanFacts
from backprop.plan.data.quality_tally import MOST_PLACES, WITHHELD, QualityTally
from backprop.plan.data.shingles import ShingleSets, shared_excerpt, shingles_of
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError

_BATCH_ROWS = 1024
"""Rows measured at once: tokenizing and taking shingles is fast for many texts together."""
_CLUSTERS_SHOWN = 10
_TOLD_BYTES = 64 << 20
"""Progress is told of files larger than this, a quarter at a time."""

T = TypeVar("T")
Tell: TypeAlias = Callable[[str], None]
Batch: TypeAlias = tuple[bytes, ShingleSets]
"""Of some rows the digests, and the shingles."""


@attrs.frozen
class Scan:
    """What is looked at, and how."""

    paths: tuple[Path, ...]
    name: str
    layout: Layout | None
    """The layout that was asked for; None to tell it from the first rows. That of ``against`` is always told."""
    text_column: str
    dup_threshold: float
    against: tuple[Path, ...] = ()
    against_name: str = ""
    max_rows: int | None = None
    meter: RowMeter = RowMeter()
    num_processes: int | None = None
    """None for one a processor."""


@attrs.frozen(eq=False)
class BlockFacts:
    """What one block adds."""

    tally: QualityTally
    places: bytes
    """Of each parsed row where it stands, 16 bytes each."""
    batches: tuple[Batch, ...]
    """What is compared of the parsed rows."""


def scan_quality(scan: Scan, *, tell: Tell) -> ScanFacts:
    """Everything that the report is made of; ``tell`` hears what is being done.

    Raises ``BackpropError`` when a file cannot be read or changes meanwhile, INPUT_DATASET_INVALID when no row of the
    other data set can be read, and RUNTIME_DISK_FULL when the shingles find no room.
    """
    stamps = tuple(map(check_file, scan.paths))
    detection = observe_layout(scan.paths, text_column=scan.text_column, stamps=stamps)
    layout = scan.layout or detection.layout
    with DuplicateFinder(threshold=scan.dup_threshold, num_processes=scan.num_processes) as finder:
        reading = _Reading(scan, RowJudge(layout, scan.layout is None, scan.text_column), finder, tell)
        complete = reading.read(stamps)
        against_rows, against_broken = reading.read_against() if scan.against else (0, 0)
        tell("comparing rows")
        found = finder.finish()
    contamination = None
    if scan.against:
        places = tuple(reading.where(row) for row in found.contaminated[:MOST_PLACES].tolist())
        num_rows = len(found.contaminated)
        contamination = ContaminationFacts(scan.against_name, against_rows, against_broken, num_rows, places)
    return ScanFacts(
        dataset=scan.name,
        tally=reading.tally,
        detection=detection,
        layout=layout,
        token_source=scan.meter.token_source,
        dup_threshold=scan.dup_threshold,
        duplicates=_duplicates(found, reading),
        contamination=contamination,
        complete=complete,
    )


class _Reading:
    """The rows on their way into the sums and to the finder of duplicates."""

    def __init__(self, scan: Scan, judge: RowJudge, finder: DuplicateFinder, tell: Tell) -> None:
        self._scan, self._judge, self._finder, self._tell = scan, judge, finder, tell
        self.tally = QualityTally()
        self._places = RowPlaces()

    def read(self, stamps: tuple[Stamp, ...]) -> bool:
        """Every row that was asked for; whether these were all."""
        limit = self._scan.max_rows
        for number, (path, stamp) in enumerate(zip(self._scan.paths, stamps, strict=True)):
            self._places.begin(path)
            measure = partial(measure_block, judge=self._judge, meter=self._scan.meter, file=number)
            for block, facts in self._mapped(measure, path, stamp):
                left = None if limit is None else limit - self.tally.rows
                if left is not None and facts.tally.rows > left:
                    # The last row that was asked for is within this block, which is measured once more, up to there.
                    self._take(measure(block, max_rows=left))
                    return False
                self._take(facts)
        return True

    def read_against(self) -> tuple[int, int]:
        """(rows of the other data set that could be read, those that could not); its layout is told from itself."""
        scan = self._scan
        stamps = tuple(map(check_file, scan.against))
        detection = observe_layout(scan.against, text_column=scan.text_column, stamps=stamps)
        judge = RowJudge(detection.layout, True, scan.text_column)
        num_rows = num_broken = 0
        for path, stamp in zip(scan.against, stamps, strict=True):
            for _, facts in self._mapped(partial(compare_block, judge=judge), path, stamp):
                num_rows += facts.num_rows
                num_broken += facts.num_broken
                for digests, sets in facts.batches:
                    self._finder.add_against(digests, sets)
        if not num_rows:
            raise BackpropError(_nothing_against(scan.against_name, num_broken))
        return num_rows, num_broken

    def where(self, row: int) -> str:
        """The place of a parsed row, by its number."""
        return self._places.where(row)

    def _take(self, facts: BlockFacts) -> None:
        self.tally.extend(facts.tally)
        self._places.extend(facts.places)
        for digests, sets in facts.batches:
            self._finder.add(digests, sets)

    def _mapped(self, work: Callable[[Block], T], path: Path, stamp: Stamp) -> Iterator[tuple[Block, T]]:
        size, seen, told = path.stat().st_size, 0, 0
        self._tell(f"reading {path.name}")
        num_processes = self._scan.num_processes or num_cpus()
        with closing(map_blocks(work, blocks_of(path, expected=stamp), num_processes=num_processes)) as done:
            for block, facts in done:
                yield block, facts
                seen += block.num_bytes
                quarter = 4 * seen // size
                if size > _TOLD_BYTES and told < quarter < 4:
                    told = quarter
                    self._tell(f"reading {path.name}: {25 * quarter} %")


def measure_block(
    block: Block, *, judge: RowJudge, meter: RowMeter, file: int, max_rows: int | None = None
) -> BlockFacts:
    """What is found in the rows of a block, or in the first ``max_rows`` of them."""
    tally, places, batches = QualityTally(), array("q"), []
    rows = itertools.islice(rows_of(block), max_rows)
    while batch := list(itertools.islice(rows, _BATCH_ROWS)):
        measured = meter.measure(batch, judge, file=file)
        for raw, row in zip(batch, measured, strict=True):
            tally.add(row)
            if row.example is not None:
                pack_place(places, raw)
        batches.append(_compared([row.compared for row in measured if row.example is not None]))
    return BlockFacts(tally, places.tobytes(), tuple(batches))


@attrs.frozen(eq=False)
class AgainstFacts:
    """What one block of the other data set adds."""

    num_rows: int
    """Rows that could be read."""
    num_broken: int
    batches: tuple[Batch, ...]


def compare_block(block: Block, *, judge: RowJudge) -> AgainstFacts:
    """What is compared of the rows of a block."""
    num_rows, num_broken, batches = 0, 0, []
    rows = rows_of(block)
    while batch := list(itertools.islice(rows, _BATCH_ROWS)):
        texts = [compared_text(example) for row in batch if (example := example_of(row, judge)) is not None]
        num_rows += len(texts)
        num_broken += len(batch) - len(texts)
        batches.append(_compared(texts))
    return AgainstFacts(num_rows, num_broken, tuple(batches))


def _nothing_against(name: str, num_broken: int) -> Problem:
    message = f"No row of {name} can be read: {num_broken:,} were tried, so there is nothing to compare with."
    return Problem(
        "INPUT_DATASET_INVALID", message, where="--against", hint=f"Look at it with: backprop validate {name}"
    )


def _compared(texts: list[str]) -> Batch:
    return digests_of(texts), shingles_of(texts)


def _duplicates(found: Duplicates, reading: _Reading) -> DuplicateFacts:
    first = found.clusters.first
    sizes = np.bincount(first, minlength=len(first)) if len(first) else np.empty(0, np.int64)
    heads = np.flatnonzero(sizes > 1)
    largest = heads[np.argsort(-sizes[heads], kind="stable")][:_CLUSTERS_SHOWN]
    similar = {pair.row: pair for pair in found.pairs}
    clusters = []
    for head in largest.tolist():
        members = np.flatnonzero(first == head)[:MOST_PLACES].tolist()
        pair = similar.get(head)
        places = tuple(reading.where(row) for row in members)
        clusters.append(Cluster(int(sizes[head]), places, round(pair.similarity, 4) if pair else 1.0))
    texts = reading.tally.texts
    shared = (shared_excerpt(text, found.boilerplate.hashes) for text in texts if len(found.boilerplate.hashes))
    shown = excerpt(next(filter(None, shared), ""))
    return DuplicateFacts(
        exact=found.exact_removable,
        removable=found.clusters.num_removable,
        num_clusters=len(heads),
        clusters=tuple(clusters),
        boilerplate_share=round(found.boilerplate.share, 4),
        # Texts are compared in other letters than they are searched in, such as ASCII digits for those of full width.
        boilerplate=WITHHELD if find_pii(shown) else shown,
    )
