"""What may stand on the command line, for whoever splits it or completes it."""

from __future__ import annotations

from backprop.plan.settings.commands import Command
from backprop.plan.settings.log import LogSettings
from backprop.plan.settings.option import BoundOption, options_of

HELP_FLAGS = {"-h": "help", "--help": "help", "--help-all": "help_all", "-V": "version", "--version": "version"}
"""Flags that ask for text instead of work, by what they ask for."""


def options_for(command: Command | None) -> tuple[BoundOption, ...]:
    """The command's options and those that every command takes."""
    return (*(options_of(command.settings) if command else ()), *options_of(LogSettings))


def flags_of(bound: BoundOption) -> tuple[str, ...]:
    """Every spelling of an option, the negative one of a switch included."""
    negative = (bound.negative_flag,) if bound.negative_flag else ()
    return (*bound.option.flags, *negative)
