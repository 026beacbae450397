"""Rows out of files: .jsonl, .json, .csv, .parquet and .txt, each also .gz or .zst; one file here a kind."""

from backprop.effects.files.rows.blocks import (
    BLOCK_BYTES,
    KINDS,
    Block,
    FileRange,
    HeldLines,
    HeldRows,
    blocks_of,
    lines_of,
    read_rows,
    rows_of,
    written_rows,
)
from backprop.effects.files.rows.json_row import json_row
from backprop.effects.files.rows.lines import LONGEST_LINE
from backprop.effects.files.rows.opening import COMPRESSIONS, Stamp, check_file, hash_files, kind_of, stem_of
from backprop.effects.files.rows.raw_row import RawRow, place_of

__all__ = [
    "BLOCK_BYTES",
    "COMPRESSIONS",
    "KINDS",
    "LONGEST_LINE",
    "Block",
    "FileRange",
    "HeldLines",
    "HeldRows",
    "RawRow",
    "Stamp",
    "blocks_of",
    "check_file",
    "hash_files",
    "json_row",
    "kind_of",
    "lines_of",
    "place_of",
    "read_rows",
    "rows_of",
    "stem_of",
    "written_rows",
]
