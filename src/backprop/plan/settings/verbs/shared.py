"""Options that several verbs have."""

from __future__ import annotations

from backprop.plan.settings.kinds import Switch, Words
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
        help="Data set: a file, or the name of one on the Hub.",
        metavar="DATASET",
        file_like=True,
    )


def run_id_argument() -> str:
    """The run that the command is about."""
    return opt(Words(), positional=True, help="Run id, or the beginning of one.", metavar="RUN_ID")  # type: ignore[no-any-return]
