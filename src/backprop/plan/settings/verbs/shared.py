"""Options that several verbs have."""

from __future__ import annotations

from backprop.plan.settings.data import RowFormat
from backprop.plan.settings.kinds import Choice, Real, Switch, Whole, Words
from backprop.plan.settings.option import opt


def config_file() -> str | None:
    """``--config``"""
    return opt(  # type: ignore[no-any-return]
        Words(),
        "--config",
        unset="./backprop.toml if there is one",
        help="Configuration file (TOML).",
        metavar="FILE",
        file_like=True,
    )


def json_flag(what: str) -> bool:
    """``--json``"""
    return opt(Switch(), "--json", default=False, help=f"Print {what} as one JSON object on stdout.")  # type: ignore[no-any-return]


def dataset_argument() -> str:
    """The data set that the command is about."""
    return opt(  # type: ignore[no-any-return]
        Words(),
        positional=True,
        help="Data set: a file as train takes it, or a Hub data set.",
        metavar="FILE|NAME",
        file_like=True,
    )


def row_format() -> RowFormat:
    """``--format``"""
    return opt(  # type: ignore[no-any-return]
        Choice(RowFormat),
        "--format",
        default=RowFormat.AUTO,
        help="Layout of the rows. auto: told from the first rows, and every row must be in it.",
    )


def dup_threshold() -> float:
    """``--dup-threshold``"""
    return opt(  # type: ignore[no-any-return]
        Real(at_least=0, at_most=1),
        "--dup-threshold",
        default=0.9,
        help="Similarity from which on two rows are near duplicates: the share of word triples that both have.",
    )


def max_seq_length(help: str) -> int | None:
    """``--max-seq-length`` of verbs that look at rows as ``train`` would."""
    return opt(  # type: ignore[no-any-return]
        Whole(minimum=8),
        "--max-seq-length",
        unset="what train takes: 2048, or the model's context where it is shorter",
        help=help,
    )


def run_id_argument() -> str:
    """The run that the command is about."""
    return opt(Words(), positional=True, help="Run id, or the beginning of one.", metavar="RUN_ID")  # type: ignore[no-any-return]
