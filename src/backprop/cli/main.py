"""The way through the program: parse, resolve, dispatch, render, exit. Whatever happens ends as an outcome."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from backprop import __version__
from backprop.cli.arguments import Arguments, parse_arguments
from backprop.cli.help import command_help, root_help
from backprop.cli.late import PLAN_VIEW, RICH_PROGRESS, load, view_of, workflow_of
from backprop.cli.progress import JsonProgress, PlainProgress
from backprop.cli.render import problem_text
from backprop.cli.style import Style, style_for
from backprop.effects.configuration import observe_configuration
from backprop.effects.files.user_config import user_config_file
from backprop.effects.log import configure_logging
from backprop.plan.decision import Problem, Refused, Severity, warning
from backprop.plan.errors import BackpropError
from backprop.plan.exit_code import SUCCESS
from backprop.plan.redaction import redact
from backprop.plan.settings.commands import Command, Tier
from backprop.plan.settings.log import LogFormat, LogSettings
from backprop.plan.settings.resolve import Origins, Resolved, resolve
from backprop.plan.wire.envelope import envelope_json, problem_json
from backprop.plan.wire.outcome import Outcome, Status, failed, refused
from backprop.workflows.request import Request

_OS_CODES = {
    errno.ENOSPC: "RUNTIME_DISK_FULL",
    errno.EDQUOT: "RUNTIME_DISK_FULL",
    errno.EACCES: "RUNTIME_PERMISSION_DENIED",
    errno.EPERM: "RUNTIME_PERMISSION_DENIED",
    errno.EROFS: "RUNTIME_PERMISSION_DENIED",
}


def run() -> None:
    """The entry point of the ``backprop`` program."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Carry out one command line; the exit code. Raises nothing."""
    talk = Talk(argv)
    try:
        code = talk.finish(_guarded(argv, talk))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone; Python's own flush at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SUCCESS
    return code


class Talk:
    """How this process speaks: what is known of it before the settings are, and what they say later."""

    def __init__(self, argv: Sequence[str]) -> None:
        flags = argv[: list(argv).index("--")] if "--" in argv else argv
        self.json = "--json" in flags
        self.log = LogSettings(debug="-v" in flags or "--verbose" in flags)
        self.command: Command | None = None
        self.trace = ""
        self.text = ""
        """What stdout gets of the report."""
        columns = shutil.get_terminal_size((100, 24)).columns
        self.out = _style(sys.stdout, columns)
        self.err = _style(sys.stderr, columns)

    def finish(self, outcome: Outcome | str) -> int:
        """Print how it ended; the exit code."""
        if isinstance(outcome, str):
            _print(outcome)
            return SUCCESS
        if self.trace and self.log.debug and self.log.format is LogFormat.CONSOLE:
            _say(redact(self.trace))
        if self.json:
            sys.stdout.write(envelope_json(outcome))
        else:
            _print(self.text)
        sys.stdout.flush()
        if not self.json or self.log.format is LogFormat.JSON:
            self.tell(outcome.problems)
        return outcome.exit_code

    def tell(self, problems: Sequence[Problem]) -> None:
        """Problems on stderr, in the form that the log has."""
        for problem in problems:
            text = problem_json(problem) if self.log.format is LogFormat.JSON else problem_text(problem, self.err)
            _say(text)


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
    if arguments.wish or arguments.command is None:
        return _wish(arguments, talk.out)
    command = arguments.command
    resolved = _resolved(arguments, command, talk)
    if isinstance(resolved, Refused):
        return refused(command.name, resolved.problems)
    configure_logging(talk.log)
    if command.tier is Tier.DEPRECATED:
        talk.tell([_deprecated(command)])
    progress = _Progress(talk)
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
    if arguments.command is None:
        return root_help(style)
    return command_help(arguments.command, style, everything=arguments.wish == "help_all")


def _resolved(arguments: Arguments, command: Command, talk: Talk) -> Resolved[Any] | Refused:
    """The command's settings; those of the log go to ``talk``. Everything that is wrong is reported together."""
    configuration = observe_configuration(
        environ=os.environ,
        directory=Path.cwd(),
        config=arguments.flags.values.get("config"),
        user_file=user_config_file(),
    )
    layers = (arguments.flags, *configuration.layers)
    log, settings = resolve(LogSettings, layers), resolve(command.settings, layers)
    problems = [*configuration.errors]
    if isinstance(log, Refused):
        problems.extend(log.problems)
    else:
        talk.log = log.settings
    if isinstance(settings, Refused):
        problems.extend(settings.problems)
        return Refused((*problems, *configuration.warnings))
    if problems:
        return Refused((*problems, *configuration.warnings))
    assert isinstance(log, Resolved)
    origins = Origins({**log.origins.by_key, **settings.origins.by_key})
    return Resolved(settings.settings, origins, (*configuration.warnings, *settings.warnings))


class _Progress:
    """Tells events to whoever listens: a bar on a terminal, lines on a pipe, objects in JSON mode."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._listener: Any = None

    def __call__(self, event: Any) -> None:
        """Tell one event."""
        if type(event).__name__ == "Planned" and not self._talk.json:
            _print(load(PLAN_VIEW)(event, self._talk.out))
            sys.stdout.flush()
        if self._listener is None:
            self._listener = self._listener_for(event)
        self._listener(event)

    def _listener_for(self, event: Any) -> Callable[[Any], None]:
        if self._talk.log.format is LogFormat.JSON:
            return JsonProgress(sys.stderr)
        if not sys.stderr.isatty():
            return PlainProgress(sys.stderr)
        if type(event).__name__ != "Started":
            # rich is worth its loading time only once a run begins.
            return _UntilStarted(self, self._talk.err)
        return load(RICH_PROGRESS)(self._talk.err)  # type: ignore[no-any-return]

    def begin_bar(self, event: Any) -> None:
        """The run has begun: from here on the bar tells."""
        self._listener = load(RICH_PROGRESS)(self._talk.err)
        self._listener(event)

    def close(self) -> None:
        """Leave the terminal as it should be."""
        if self._listener is not None:
            self._listener.close()


class _UntilStarted(PlainProgress):
    """Lines, until the run starts and the bar takes over."""

    def __init__(self, progress: _Progress, style: Style) -> None:
        super().__init__(sys.stderr)
        self._progress = progress
        self._style = style

    def __call__(self, event: Any) -> None:
        if type(event).__name__ == "Started":
            self._progress.begin_bar(event)
        else:
            super().__call__(event)


def _deprecated(command: Command) -> Problem:
    return warning(
        "CONFIG_DEPRECATED", f"`backprop {command.name}` is deprecated.", hint=f"Use `backprop {command.prefer}`."
    )


def _os_problem(wrong: OSError) -> Problem:
    where = str(wrong.filename or "")
    code = _OS_CODES.get(wrong.errno or 0, "RUNTIME_WRITE_FAILED")
    return Problem(code, f"{where + ': ' if where else ''}{wrong.strerror or wrong}.", where=where)


def _bug(bug: Exception) -> Problem:
    message = f"Something went wrong that should not: {type(bug).__name__}: {bug}"
    return Problem("RUNTIME_BUG", message, severity=Severity.ERROR)


def _name(talk: Talk) -> str:
    return talk.command.name if talk.command else "backprop"


def _style(stream: Any, columns: int) -> Style:
    return style_for(stream, environ=os.environ, columns=columns, encoding=stream.encoding or "ascii")


def _print(text: str) -> None:
    if text:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write((text + "\n").encode(encoding, "replace").decode(encoding))


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
