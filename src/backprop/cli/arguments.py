"""From the command line to a command and the layer of its flags. argparse splits; the kinds read the values later."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

import attrs

from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.settings.command_line import HELP_FLAGS, flags_of, options_for
from backprop.plan.settings.commands import COMMANDS, Command, command_named, family_of
from backprop.plan.settings.kinds import Switch
from backprop.plan.settings.log import LogSettings
from backprop.plan.settings.nearest import nearest
from backprop.plan.settings.option import BoundOption, options_of
from backprop.plan.settings.resolve import Layer, Source


@attrs.frozen
class Arguments:
    """What the command line says. ``wish`` is help, help_all or version when one of them was asked for."""

    command: Command | None
    flags: Layer
    wish: str = ""
    family: str = ""
    """The word before the verb where help for a family of commands was asked for, such as ``data``."""
    problems: tuple[Problem, ...] = ()
    """Flags and words that the command does not take, each with the nearest that it does."""


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """Split ``argv``. Raises INPUT_VALIDATION_FAILED when there is no such command or a value is missing."""
    position = _command_position(argv)
    if position is None:
        command, rest = None, list(argv)
    else:
        command, num_words = _command_at(argv, position)
        rest = [*argv[:position], *argv[position + num_words :]]
    wish = next((HELP_FLAGS[word] for word in _before_dashes(rest) if word in HELP_FLAGS), "")
    if command is None and position is not None:
        return Arguments(None, Layer(Source.FLAG, "", {}), wish or "help", family=argv[position])
    if wish:
        return Arguments(command, Layer(Source.FLAG, "", {}), wish)
    options = options_for(command)
    known, unknown = _parser(options).parse_known_args(rest)
    problems = _unknown_words(unknown, options, command) if unknown else ()
    return Arguments(command, _layer(known), problems=problems)


def log_flags(argv: Sequence[str]) -> Layer:
    """How the program should talk, before anything else is known of the command line; empty when that is unclear."""
    try:
        return _layer(_parser(options_of(LogSettings)).parse_known_args(_before_dashes(argv))[0])
    except BackpropError:
        return _layer(argparse.Namespace())


def _layer(parsed: argparse.Namespace) -> Layer:
    given = {key: value for key, value in vars(parsed).items() if value is not None}
    # argparse takes "--" out of the words of ``--base=--``, too, and leaves an empty list.
    return Layer(Source.FLAG, "", {key: "--" if value == [] else value for key, value in given.items()})


def _before_dashes(words: Sequence[str]) -> Sequence[str]:
    return words[: list(words).index("--")] if "--" in words else words


class _Parser(argparse.ArgumentParser):
    """argparse without its own exit."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        text = message.replace("argument ", "", 1) if message.startswith("argument ") else message
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", text[:1].upper() + text[1:] + "."))


def _parser(options: Sequence[BoundOption]) -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    for bound in options:
        if bound.option.positional:
            nargs = "?" if bound.option.optional_positional else None
            parser.add_argument(bound.key, metavar=bound.option.metavar or bound.flag, nargs=nargs)
        elif isinstance(bound.option.kind, Switch):
            parser.add_argument(*bound.option.flags, dest=bound.key, action="store_const", const="true")
            assert bound.negative_flag is not None
            parser.add_argument(bound.negative_flag, dest=bound.key, action="store_const", const="false")
        else:
            parser.add_argument(*bound.option.flags, dest=bound.key)
    return parser


def _command_position(argv: Sequence[str]) -> int | None:
    """Where the command stands: the first word that is neither a flag for all commands nor the value of one."""
    by_flag = {flag: bound for bound in options_of(LogSettings) for flag in flags_of(bound)}
    takes_value = False
    for position, word in enumerate(argv):
        if takes_value:
            takes_value = False
        elif not word.startswith("-") or word == "-":
            return position
        elif word in by_flag:
            takes_value = not isinstance(by_flag[word].option.kind, Switch)
        elif word.split("=", 1)[0] not in by_flag and word not in HELP_FLAGS:
            raise _flag_before_command(word, list(by_flag))
    return None


def _command_at(argv: Sequence[str], position: int) -> tuple[Command | None, int]:
    """The command and the number of its words; None for a family alone, which asks what its verbs are."""
    word = argv[position]
    command = command_named(word)
    if command is not None:
        return command, 1
    if not family_of(word):
        raise _unknown_command(word)
    verb = argv[position + 1] if len(argv) > position + 1 else ""
    if not verb or verb.startswith("-"):
        return None, 1
    command = command_named(f"{word} {verb}")
    if command is None:
        raise _unknown_command(f"{word} {verb}")
    return command, 2


def _flag_before_command(word: str, known: Sequence[str]) -> BackpropError:
    flag = word.split("=", 1)[0]
    of_commands = {f for command in COMMANDS for bound in options_of(command.settings) for f in flags_of(bound)}
    close = None if flag in of_commands else _nearest_flag(flag, [*known, *HELP_FLAGS])
    hint = f"Did you mean {close}?" if close else "Flags of a command stand after its name: backprop COMMAND [FLAGS]."
    return BackpropError(
        Problem("INPUT_VALIDATION_FAILED", f"{word} does not stand before a command.", where=word, hint=hint)
    )


def _nearest_flag(said: str, flags: Sequence[str]) -> str | None:
    """Compared without the dashes, which would make all of them alike."""
    by_name = {flag.lstrip("-"): flag for flag in flags if flag.startswith("--")}
    found = nearest(said.lstrip("-"), by_name)
    return by_name[found] if found else None


def _unknown_command(word: str) -> BackpropError:
    close = nearest(word, [c.name for c in COMMANDS])
    hint = f"Did you mean `backprop {close}`?" if close else "See `backprop --help` for the commands there are."
    return BackpropError(Problem("INPUT_VALIDATION_FAILED", f'There is no command "{word}".', where=word, hint=hint))


def _unknown_words(
    words: Sequence[str], options: Sequence[BoundOption], command: Command | None
) -> tuple[Problem, ...]:
    flags = [flag for bound in options for flag in flags_of(bound)]
    name = f"backprop {command.name}" if command else "backprop"
    misspelt = [word.split("=", 1)[0] for word in words if word.startswith("-") and word != "--"]
    problems = []
    for flag in misspelt:
        close = _nearest_flag(flag, flags)
        hint = f"Did you mean {close}?" if close else f"See `{name} --help-all` for the flags there are."
        problems.append(Problem("INPUT_VALIDATION_FAILED", f"{name} has no flag {flag}.", where=flag, hint=hint))
    if not problems:
        listed = ", ".join(f'"{w}"' for w in words)
        hint = f"See `{name} --help`; a value with blanks needs quotes."
        problems.append(Problem("INPUT_VALIDATION_FAILED", f"{name} does not expect {listed}.", hint=hint))
    return tuple(problems)
