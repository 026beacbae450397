"""What ``backprop completion`` takes."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.settings.kinds import Choice
from backprop.plan.settings.option import opt


class Shell(enum.Enum):
    """Shells that completion is written for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@attrs.frozen
class CompletionSettings:
    """``backprop completion``"""

    shell: Shell = opt(Choice(Shell), positional=True, help="bash, zsh or fish.", metavar="SHELL")
