"""The one table of commands: what each takes, how settled it is, and which modules serve it."""

from __future__ import annotations

import enum
from typing import Any

import attrs

from backprop.plan.settings.verbs import (
    CompletionSettings,
    ConfigSettings,
    GenerateSettings,
    InfoSettings,
    ResumeSettings,
    RunsSettings,
    ShowRunSettings,
    TrainSettings,
)


class Tier(enum.Enum):
    """What a user may rely on."""

    STABLE = "stable"
    EXPERIMENTAL = "experimental"
    DEPRECATED = "deprecated"


@attrs.frozen
class Command:
    """One command of the program."""

    name: str
    settings: type[Any]
    summary: str
    tier: Tier = Tier.STABLE
    prefer: str = ""
    """The command to use instead of a deprecated one, which does the same."""

    @property
    def module(self) -> str:
        """The last part of the names of the modules that hold the workflow and the view."""
        return (self.prefer or self.name).replace("-", "_")


COMMANDS: tuple[Command, ...] = (
    Command("train", TrainSettings, "Fine-tune a model on a data set."),
    Command("resume", ResumeSettings, "Continue an interrupted run from its last checkpoint."),
    Command("runs", RunsSettings, "List the runs of an output directory."),
    Command("list-runs", RunsSettings, "The older name of runs.", Tier.DEPRECATED, prefer="runs"),
    Command("show-run", ShowRunSettings, "Show one run: plan, losses, artefacts, events."),
    Command("generate", GenerateSettings, "Answer a prompt with a fine-tuned model."),
    Command("info", InfoSettings, "Describe this machine, the installed packages and what they allow."),
    Command("config", ConfigSettings, "Show the settings with their origins, or change your user file."),
    Command("completion", CompletionSettings, "Print the completion script for a shell."),
)


def command_named(name: str) -> Command | None:
    """The command of that name, or None."""
    return next((c for c in COMMANDS if c.name == name), None)
