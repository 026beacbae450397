"""How completions are shown."""

from __future__ import annotations

import attrs

from backprop.cli.style import Style
from backprop.cli.views.generate import show
from backprop.plan.generation.report import Completion, Ending, GenerationReport

ONE = GenerationReport(None, "b", "p", "p", 1, 0.7, 0, (Completion("Hello\x1b[2J", 3, Ending.STOP),))


def test_one_completion_is_its_text_alone_without_control_characters() -> None:
    assert show(ONE, Style()) == "Hello\\x1b[2J"


def test_several_completions_are_numbered() -> None:
    two = attrs.evolve(ONE, completions=ONE.completions * 2)
    assert [line for line in show(two, Style()).splitlines() if "/" in line] == ["1/2", "2/2"]
