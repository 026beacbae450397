"""Look for files that break the readers: for FUZZ_SECONDS (300) read files that were made and damaged at random.

Whatever a file holds, reading it and reading its rows into every layout may raise nothing but ``BackpropError`` and
``RowError``, and memory stays bounded. The file at work is kept as ``.fuzz/last.*``, for the case that the process
dies. With ``--coverage`` and the package atheris, which must be installed, what is tried next follows what was reached.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from property_tests.strategies.data_files import data_files

from backprop.effects.files.rows import RawRow, blocks_of, lines_of, read_rows, rows_of
from backprop.effects.probe.dataset import observe_data
from backprop.plan.data.checks import check_example
from backprop.plan.data.compared import compared_text, content_hash
from backprop.plan.data.conversation import RowError
from backprop.plan.data.layout import Layout, describe_keys, layout_of
from backprop.plan.data.rows import read_row
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError, hint_for
from backprop.plan.facts.absent import Absent
from backprop.plan.settings.data import DataSettings

_DIRECTORY = Path(".fuzz")
_MEMORY_MIB = 1024
_NO_TOKENIZER = Absent(Problem("DEP_MODEL_LOAD_FAILED", "There is no model here."))
_count = 0


def read_whole(suffix: str, data: bytes) -> None:
    """Read a file in every way there is; raises for what must not happen."""
    global _count
    _count += 1
    path = _DIRECTORY / f"last{suffix}"
    path.write_bytes(data)
    rows = _rows(path)
    assert rows == _rows_in_blocks(path), "blocks hold the rows of the file"
    for row in rows or ():
        _use(row)
    observe_data(DataSettings(dataset_name=str(path)), max_seq_length=64, seed=1, tokenizer=_NO_TOKENIZER)
    path.unlink()


def _rows(path: Path) -> list[str] | None:
    try:
        rows = list(read_rows(path))
    except BackpropError as refused:
        _check(*refused.problems)
        return None
    for row in rows:
        _use(row)
    return [repr(row) for row in rows]


def _rows_in_blocks(path: Path) -> list[str] | None:
    try:
        blocks = list(blocks_of(path, block_bytes=16))
        lines = [line for block in blocks for line in lines_of(block)]
        rows = [row for block in blocks for row in rows_of(block)]
    except BackpropError:
        return None
    assert not lines or [(row.line, row.raw) for row in rows] == lines
    return [repr(row) for row in rows]


def _use(row: RawRow | str) -> None:
    if isinstance(row, str):
        return
    if row.problem is not None:
        _check(row.problem)
        assert row.problem.where == row.where
        return
    describe_keys(row.value)
    layout_of(row.value, text_column="text")
    for layout in Layout:
        try:
            example = read_row(row.value, layout, text_column="text")
            content_hash(example, seed=1)
            check_example(example)
            compared_text(example)
        except RowError:
            continue


def _check(*problems: Problem) -> None:
    assert problems
    for problem in problems:
        assert problem.message.isprintable(), "a terminal may not be made to obey"
        assert len(problem.message) < 600, "a message is short"
        assert problem.where
        assert hint_for(problem)


@settings(
    max_examples=300,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)
@given(data_files())
def fuzz(file: tuple[str, bytes]) -> None:
    """One round."""
    read_whole(*file)


def main() -> None:
    """Until the time is over; an exception is a find."""
    faulthandler.enable()
    _DIRECTORY.mkdir(exist_ok=True)
    seconds = float(os.environ.get("FUZZ_SECONDS", "300"))
    if "--coverage" in sys.argv[1:]:
        _by_coverage(seconds)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        fuzz()
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        assert used < _MEMORY_MIB, f"{used} MiB were used"
    print(f"{_count:,} files in {seconds:.0f} s, {used} MiB at most: nothing found.")


def _by_coverage(seconds: float) -> None:
    import atheris

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds:.0f}", f"-rss_limit_mb={_MEMORY_MIB}"], _one_input)
    atheris.Fuzz()


def _one_input(data: bytes) -> Any:
    return fuzz.hypothesis.fuzz_one_input(data)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
