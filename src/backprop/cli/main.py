"""The way through the program: parse, resolve, dispatch, render, exit. Whatever happens ends as an outcome."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from backprop import __version__
from backprop.cli.arguments import Arguments, parse_arguments
from backprop.cli.help import command_help, family_help, root_help
from backprop.cli.late import view_of, workflow_of
from backprop.cli.style import UNWRAPPED, Style
from backprop.cli.talk import Progress, Talk, leave
from backprop.effects.configuration import observe_configuration
from backprop.effects.files.os_errors import os_code
from backprop.effects.files.user_config import user_config_file
from backprop.effects.log import configure_logging
from backprop.effects.probe.processes import observe_processes
from backprop.plan.decision import Problem, Refused, Severity, as_warning, warning
from backprop.plan.errors import BackpropError
from backprop.plan.exit_code import SUCCESS, exit_code_for
from backprop.plan.settings.commands import Command, Tier
from backprop.plan.settings.log import LogSettings
from backprop.plan.settings.option import options_of
from backprop.plan.settings.resolve import Origins, Resolved, resolve
from backprop.plan.wire.outcome import Outcome, Status, failed, refused
from backprop.workflows.request import Request

SHARED = ("train", "resume")
"""Commands that a launcher may start several times at once, to share their work."""
PAGER_WIDTH = 100
"""Columns of help that does not go to a terminal."""


def run() -> None:
    """The entry point of the ``backprop`` program."""
    # A stream that was closed before the start is None.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115  for as long as the process lives
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115  for as long as the process lives
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Carry out one command line; the exit code. Raises nothing."""
    talk = Talk(argv)
    outcome: Outcome | str = ""
    try:
        outcome = _guarded(argv, talk)
        talk.finish(outcome)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has seen enough; how it ended is still worth its exit code
        leave(sys.stdout)
    except OSError as wrong:
        leave(sys.stdout)
        problem = _os_problem(wrong)
        talk.tell([problem])
        return exit_code_for([problem])
    return outcome.exit_code if isinstance(outcome, Outcome) else SUCCESS


def _guarded(argv: Sequence[str], talk: Talk) -> Outcome | str:
    """Every way to end as a value: the outcome, or text that was asked for."""
    try:
        return _carry_out(argv, talk)
    except BackpropError as error:
        talk.trace = traceback.format_exc()
        return failed(_name(talk), error)
    except KeyboardInterrupt:
        problem = Problem("RUNTIME_INTERRUPTED", "Interrupted.")
        return Outcome(_name(talk), Status.INTERRUPTED, None, (problem,))
    except BrokenPipeError:
        raise
    except OSError as wrong:
        talk.trace = traceback.format_exc()
        return failed(_name(talk), BackpropError(_os_problem(wrong)))
    except Exception as bug:
        talk.trace = traceback.format_exc()
        return failed(_name(talk), BackpropError(_bug(bug)))


def _carry_out(argv: Sequence[str], talk: Talk) -> Outcome | str:
    arguments = parse_arguments(argv)
    talk.command = arguments.command
    if arguments.problems and arguments.command is None:
        raise BackpropError(*arguments.problems)
    if arguments.wish or arguments.command is None:
        return _wish(arguments, talk.out)
    command = arguments.command
    talk.is_heard = command.name not in SHARED or observe_processes(os.environ).is_first
    resolved = _resolved(arguments, command, talk)
    if isinstance(resolved, Refused):
        return refused(command.name, resolved.problems)
    if talk.is_heard:
        configure_logging(talk.log)
    if command.tier is Tier.DEPRECATED:
        talk.tell([_deprecated(command)])
    progress = Progress(talk)
    try:
        request = Request(resolved.settings, resolved.origins, resolved.warnings, progress, talk.log)
        outcome: Outcome = workflow_of(command)(request)
    finally:
        progress.close()
    if outcome.report is not None and not talk.json:
        talk.text = view_of(command)(outcome.report, talk.out)
    return outcome


def _wish(arguments: Arguments, style: Style) -> str:
    if arguments.wish == "version":
        return f"backprop {__version__}"
    if style.width == UNWRAPPED:  # help is prose, and a pager breaks lines within words
        style = attrs.evolve(style, width=PAGER_WIDTH)
    if arguments.family:
        return family_help(arguments.family, style)
    if arguments.command is None:
        return root_help(style)
    return command_help(arguments.command, style, everything=arguments.wish == "help_all")


def _resolved(arguments: Arguments, command: Command, talk: Talk) -> Resolved[Any] | Refused:
    """The command's settings; those of the log go to ``talk``. Everything that is wrong is reported together.

    A command that takes nothing from files and variables says what is wrong with them and goes on: it may be the
    one that describes or resets them.
    """
    configuration = observe_configuration(
        environ=os.environ,
        directory=_directory(),
        config=arguments.flags.values.get("config"),
        user_file=user_config_file(),
    )
    layers = (arguments.flags, *configuration.layers)
    log, settings = resolve(LogSettings, layers), resolve(command.settings, layers)
    problems, warnings = [*configuration.errors], [*configuration.warnings]
    if not any(bound.group for bound in options_of(command.settings)):
        if isinstance(log, Refused):
            problems.extend(log.problems)
            log = resolve(LogSettings, (arguments.flags,))
        warnings.extend(as_warning(problem) for problem in problems)
        problems.clear()
    if isinstance(log, Refused):
        problems.extend(log.problems)
    else:
        talk.log = log.settings
    if isinstance(settings, Refused):
        problems.extend(settings.problems)
    problems = [*arguments.problems, *problems]
    if problems or isinstance(log, Refused) or isinstance(settings, Refused):
        return Refused((*problems, *warnings))
    origins = Origins({**log.origins.by_key, **settings.origins.by_key})
    return Resolved(settings.settings, origins, (*warnings, *settings.warnings))


def _directory() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as gone:
        message = "The directory that the program was started in no longer exists."
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", message, hint="Change to another directory.")) from gone


def _deprecated(command: Command) -> Problem:
    return warning(
        "CONFIG_DEPRECATED", f"`backprop {command.name}` is deprecated.", hint=f"Use `backprop {command.prefer}`."
    )


def _os_problem(wrong: OSError) -> Problem:
    where = str(wrong.filename or "")
    code = os_code(wrong) or "RUNTIME_WRITE_FAILED"
    return Problem(code, f"{where + ': ' if where else ''}{wrong.strerror or wrong}.", where=where)


def _bug(bug: Exception) -> Problem:
    message = f"Something went wrong that should not: {type(bug).__name__}: {bug}"
    return Problem("RUNTIME_BUG", message, severity=Severity.ERROR)


def _name(talk: Talk) -> str:
    return talk.command.name if talk.command else "backprop"
