"""How the program speaks: reports on stdout, problems and progress on stderr and in the log file."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from backprop.cli.arguments import log_flags
from backprop.cli.late import PLAN_VIEW, RICH_PROGRESS, load
from backprop.cli.progress import JsonProgress, PlainProgress, line_of
from backprop.cli.render import problem_text
from backprop.cli.style import Style, style_for
from backprop.effects.log import TOLD, level_of
from backprop.plan.decision import Problem, Refused, Severity
from backprop.plan.redaction import redact
from backprop.plan.settings.commands import Command
from backprop.plan.settings.log import LogFormat, LogSettings
from backprop.plan.settings.option import options_of
from backprop.plan.settings.resolve import environment_layer, resolve
from backprop.plan.wire.envelope import envelope_json, problem_json
from backprop.plan.wire.outcome import Outcome, Status

_LEVELS = {Severity.ERROR: logging.ERROR, Severity.WARNING: logging.WARNING}


class Talk:
    """How this process speaks: what is known of it before the settings are, and what they say later."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.json = "--json" in (argv[: list(argv).index("--")] if "--" in argv else argv)
        variables, _ = environment_layer(os.environ, known=options_of(LogSettings))
        log = resolve(LogSettings, (log_flags(argv), variables))
        self.log = LogSettings() if isinstance(log, Refused) else log.settings
        self.command: Command | None = None
        self.is_heard = True
        """Not so in a process that only helps another one with the same command."""
        self.trace = ""
        self.text = ""
        """What stdout gets of the report."""
        self._told: set[Problem] = set()
        """Problems that stderr has already."""
        columns = shutil.get_terminal_size((100, 24)).columns
        self.out = _style(sys.stdout, columns)
        self.err = _style(sys.stderr, columns)

    def finish(self, outcome: Outcome | str) -> None:
        """Print how it ended, or the text that was asked for; who is not heard tells nothing but a failure."""
        if not self.is_heard:
            if isinstance(outcome, Outcome) and outcome.status is Status.FAILED:
                self.tell(outcome.problems)
            return
        if isinstance(outcome, str):
            _print(outcome)
            return
        if self.trace and self.log.debug and self.log.format is LogFormat.CONSOLE:
            _say(redact(self.trace))
        if self.json:
            sys.stdout.write(_json_for(sys.stdout, envelope_json(outcome)))
        else:
            _print(self.text)
        sys.stdout.flush()
        self.tell_unless_enveloped([problem for problem in outcome.problems if problem not in self._told])

    def tell_unless_enveloped(self, problems: Sequence[Problem]) -> None:
        """Problems on stderr, once; with ``--json`` they stand in the envelope, unless stderr is JSON as well."""
        if not self.json or self.log.format is LogFormat.JSON:
            self._told.update(problems)
            self.tell(problems)

    def tell(self, problems: Sequence[Problem]) -> None:
        """Problems on stderr, in the form that the log has, and in the log file; those under its level are not."""
        for problem in problems:
            level = _LEVELS[problem.severity]
            TOLD.log(level, problem_text(problem, Style()))
            if level >= level_of(self.log):
                is_json = self.log.format is LogFormat.JSON
                _say(_json_for(sys.stderr, problem_json(problem)) if is_json else problem_text(problem, self.err))


class Progress:
    """Tells events to whoever listens: a bar on a terminal, lines on a pipe, objects in JSON mode."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._listener: Any = None

    def __call__(self, event: Any) -> None:
        """Tell one event, where anybody listens. A reader that has gone, as of ``| head``, does not stop the work."""
        if not self._talk.is_heard:
            return
        try:
            self._tell(event)
        except BrokenPipeError:
            for stream in (sys.stdout, sys.stderr):
                leave(stream)

    def _tell(self, event: Any) -> None:
        if type(event).__name__ == "Planned":
            if not self._talk.json:
                _print(load(PLAN_VIEW)(event, self._talk.out))
                sys.stdout.flush()
            self._talk.tell_unless_enveloped(event.warnings)
        line = line_of(event)
        if line is not None:
            TOLD.info(line)
        if self._listener is None:
            self._listener = self._new_listener()
        self._listener(event)

    def _new_listener(self) -> Callable[[Any], None]:
        if level_of(self._talk.log) > logging.INFO:
            return _Quiet(sys.stderr)
        if self._talk.log.format is LogFormat.JSON:
            return JsonProgress(sys.stderr)
        if not sys.stderr.isatty():
            return PlainProgress(sys.stderr)
        # rich is worth its loading time only once a run begins.
        return _UntilStarted(self)

    def begin_bar(self, event: Any) -> None:
        """The run has begun: from here on the bar tells, or lines where rich is not installed."""
        try:
            self._listener = load(RICH_PROGRESS)(self._talk.err)
        except ModuleNotFoundError:
            self._listener = PlainProgress(sys.stderr)
        self._listener(event)

    def close(self) -> None:
        """Leave the terminal as it should be."""
        if self._listener is not None:
            self._listener.close()


class _Quiet(PlainProgress):
    """No lines: only what is worse than progress is to be told."""

    def __call__(self, event: Any) -> None:
        """Tell nothing."""


class _UntilStarted(PlainProgress):
    """Lines, until the run starts and the bar takes over."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(sys.stderr)
        self._progress = progress

    def __call__(self, event: Any) -> None:
        if type(event).__name__ == "Started":
            self._progress.begin_bar(event)
        else:
            super().__call__(event)


def leave(stream: Any) -> None:
    """Write to nowhere from now on if nobody reads ``stream`` any more; Python's flush at exit is silent then, too."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _style(stream: Any, columns: int) -> Style:
    return style_for(stream, environ=os.environ, columns=columns, encoding=stream.encoding or "ascii")


def _print(text: str) -> None:
    if text:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write((text + "\n").encode(encoding, "replace").decode(encoding))


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody is left to be told
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _json_for(stream: TextIO, line: str) -> str:
    """JSON that the stream's encoding can hold."""
    try:
        line.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return json.dumps(json.loads(line)) + ("\n" if line.endswith("\n") else "")
    return line
