"""A problem as a person reads it."""

from __future__ import annotations

from backprop.cli.render import problem_text
from backprop.cli.style import Style
from backprop.plan.decision import Problem, warning


def test_code_and_message_then_the_hint_on_the_next_line() -> None:
    text = problem_text(Problem("CONFIG_INVALID", "a.toml is broken.", where="a.toml"), Style())
    assert text == "[CONFIG_INVALID] a.toml is broken.\n  Fix the file, or remove it."


def test_a_place_that_the_message_does_not_name_is_added() -> None:
    text = problem_text(Problem("CONFIG_INVALID", "Broken.", where="a.toml", hint="Fix it."), Style())
    assert text == "[CONFIG_INVALID] Broken. (a.toml)\n  Fix it."


def test_errors_are_red_and_warnings_yellow() -> None:
    style = Style(colour=True)
    assert problem_text(Problem("CONFIG_INVALID", ""), style).startswith("\x1b[31m[")
    assert problem_text(warning("CONFIG_INVALID", ""), style).startswith("\x1b[33m[")


def test_control_characters_and_secrets_of_the_data_do_not_reach_the_terminal() -> None:
    text = problem_text(Problem("CONFIG_INVALID", "\x1b[2J hf_abcdefghijkl", "password=x", "https://u:p@h"), Style())
    assert text == "[CONFIG_INVALID] \\x1b[2J [redacted] (password=[redacted])\n  https://[redacted]@h"
