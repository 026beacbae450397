"""Help texts, written from the declarations."""

from __future__ import annotations

import re

import pytest

from backprop.cli.help import command_help, default_text, root_help, spelling
from backprop.cli.style import Style, visible_width
from backprop.plan.settings.commands import COMMANDS, Command, Tier, command_named
from backprop.plan.settings.option import options_of
from backprop.plan.settings.verbs.config import EverySetting

NARROW = Style(width=80)
every_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)


def words_of(text: str) -> set[str]:
    return {word.strip("(),.") for word in text.split()}


def test_the_program_lists_every_command_that_is_not_deprecated() -> None:
    text = root_help(NARROW)
    for command in COMMANDS:
        assert (f"  {command.name} " in text) is (command.tier is not Tier.DEPRECATED)


@every_command
def test_the_short_help_has_the_flags_that_are_not_rare_and_the_long_one_all(command: Command) -> None:
    short, long = (words_of(command_help(command, NARROW, everything=e)) for e in (False, True))
    for bound in options_of(command.settings):
        shown = bound.option.metavar if bound.option.positional else spelling(bound).split(",")[-1].split()[0]
        assert shown in long
        assert (shown in short) is not bound.option.rare
        if bound.env:
            assert bound.env in long
            assert bound.env not in short


@every_command
@pytest.mark.parametrize("everything", [False, True])
def test_no_line_is_wider_than_the_terminal_where_words_allow(command: Command, everything: bool) -> None:
    for text in (command_help(command, NARROW, everything=everything), root_help(NARROW)):
        for line in text.splitlines():
            last = line.split()[-1] if line else ""
            assert visible_width(line) <= 80 or visible_width(last) > 30, line


def test_colour_changes_nothing_but_colour() -> None:
    command = command_named("train")
    assert command is not None
    coloured = command_help(command, Style(colour=True, width=80), everything=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == command_help(command, NARROW, everything=True)


def test_a_deprecated_command_names_the_one_to_use() -> None:
    command = command_named("list-runs")
    assert command is not None
    assert "Deprecated: use `backprop runs`." in command_help(command, NARROW, everything=False)


def test_every_setting_says_what_it_does_and_what_happens_when_it_is_unset() -> None:
    for bound in options_of(EverySetting):
        assert bound.option.help.endswith("."), bound.key
        assert default_text(bound) != "unset", bound.key
