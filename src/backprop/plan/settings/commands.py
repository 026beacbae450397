"""The one table of commands: how settled each is, and which modules serve it.

What a command takes is loaded when it is asked for: most commands need few of the settings.
"""

from __future__ import annotations

import enum
from importlib import import_module
from typing import Any

import attrs


class Tier(enum.Enum):
    """What a user may rely on."""

    STABLE = "stable"
    EXPERIMENTAL = "experimental"
    DEPRECATED = "deprecated"


@attrs.frozen
class Command:
    """One command of the program."""

    name: str
    """One word, or the word of a family and a verb: ``data report``."""
    summary: str
    tier: Tier = Tier.STABLE
    prefer: str = ""
    """The command to use instead of a deprecated one, which does the same."""

    @property
    def module(self) -> str:
        """The last part of the names of the modules that hold its settings, its workflow and its view."""
        return (self.prefer or self.name).replace("-", "_").replace(" ", "_")

    @property
    def settings(self) -> type[Any]:
        """What it takes: ``ShowRunSettings`` in ``verbs/show_run.py``."""
        module = import_module(f"backprop.plan.settings.verbs.{self.module}")
        name = "".join(word.title() for word in self.module.split("_"))
        found: type[Any] = getattr(module, f"{name}Settings")
        return found


COMMANDS: tuple[Command, ...] = (
    Command("train", "Fine-tune a model on a data set."),
    Command("resume", "Continue an interrupted run from its last checkpoint."),
    Command("validate", "Check the rows of a data set: what is wrong, where, and what to do."),
    Command("runs", "List the runs of an output directory."),
    Command("list-runs", "The older name of runs.", Tier.DEPRECATED, prefer="runs"),
    Command("show-run", "Show one run: plan, losses, artefacts, events."),
    Command("generate", "Answer a prompt with a fine-tuned model."),
    Command("export", "Turn an adapter into merged weights, a GGUF file or a clean directory, for use elsewhere."),
    Command("estimate-vram", "Say what fits a card: batch sizes, sequence lengths, ways to train."),
    Command("data report", "Say what a data set is like: duplicates, lengths, gaps, personal data, and a verdict."),
    Command("data show", "Show a row: its turns, what the template makes of them, what is learned."),
    Command("data split", "Divide a data set in rows to train on and held-out ones, duplicates on one side."),
    Command("data dedupe", "Write a data set without its duplicates, and what went why."),
    Command("data convert", "Write the rows of a data set in another layout."),
    Command("ollama register", "Make a GGUF file or an adapter a model of Ollama's.", Tier.EXPERIMENTAL),
    Command("ollama list", "List the models that Ollama has.", Tier.EXPERIMENTAL),
    Command("ollama rm", "Remove a model from Ollama.", Tier.EXPERIMENTAL),
    Command("ollama shelf", "List the adapters on one of Ollama's models.", Tier.EXPERIMENTAL),
    Command("push", "Push an adapter or a model to the Hub."),
    Command("info", "Describe this machine, the installed packages and what they allow."),
    Command("config", "Show the settings with their origins, or change your user file."),
    Command("completion", "Print the completion script for a shell."),
)


def command_named(name: str) -> Command | None:
    """The command of that name, or None."""
    return next((c for c in COMMANDS if c.name == name), None)


def families() -> tuple[str, ...]:
    """The words that more than one command begins with, in the order of the table."""
    return tuple(dict.fromkeys(c.name.split()[0] for c in COMMANDS if " " in c.name))


def family_of(word: str) -> tuple[Command, ...]:
    """The commands whose names begin with ``word`` and go on with a verb; empty when there is no such family."""
    return tuple(c for c in COMMANDS if c.name.startswith(f"{word} "))
