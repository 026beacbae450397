"""The help texts, written from the declarations: short with ``--help``, everything with ``--help-all``."""

from __future__ import annotations

from backprop.cli.style import Style
from backprop.plan.settings.commands import COMMANDS, Command, Tier, family_of
from backprop.plan.settings.kinds import Choice, Names, Real, Several, Switch, Whole
from backprop.plan.settings.log import LogSettings
from backprop.plan.settings.option import BoundOption, options_of

_TITLES = {"": "Options", "model": "Model", "data": "Data", "training": "Training", "lora": "LoRA"}


def root_help(style: Style) -> str:
    """What ``backprop --help`` prints."""
    commands = [(style.cyan(c.name), c.summary) for c in COMMANDS if c.tier is not Tier.DEPRECATED]
    return "\n".join(
        (
            f"{style.bold('Usage:')} backprop [FLAGS] COMMAND …",
            "",
            style.wrap("Fine-tune language models on the hardware you have: the plan is printed, then executed."),
            "",
            style.bold("Commands"),
            style.table(commands, indent=2),
            "",
            _root_flags(style, everything=False),
            "",
            style.wrap(
                "`backprop COMMAND --help` describes a command; `--help-all` adds rarer flags and the variables."
            ),
        )
    )


def family_help(word: str, style: Style) -> str:
    """What ``backprop data --help`` prints: the verbs."""
    commands = [(style.cyan(c.name), c.summary) for c in family_of(word)]
    return "\n".join(
        (
            f"{style.bold('Usage:')} backprop {word} VERB …",
            "",
            style.bold("Commands"),
            style.table(commands, indent=2),
            "",
            _root_flags(style, everything=False),
        )
    )


def command_help(command: Command, style: Style, *, everything: bool) -> str:
    """What ``backprop COMMAND --help`` prints; ``everything`` adds rare flags and environment variables."""
    options = options_of(command.settings)
    positionals = [b for b in options if b.option.positional]
    usage = " ".join((f"backprop {command.name}", *(_placeholder(b) for b in positionals), "[FLAGS]"))
    parts = [f"{style.bold('Usage:')} {usage}", "", style.wrap(command.summary)]
    if command.tier is Tier.DEPRECATED:
        parts.append(f"Deprecated: use `backprop {command.prefer}`.")
    if positionals:
        rows = [(style.cyan(_placeholder(b)), b.option.help) for b in positionals]
        parts += ["", style.bold("Arguments"), style.table(rows, indent=2)]
    shown = [b for b in options if not b.option.positional and (everything or not b.option.rare)]
    for group in dict.fromkeys(b.group for b in shown):
        rows = [_row(b, style, everything=everything) for b in shown if b.group == group]
        parts += ["", style.bold(_TITLES.get(group, group)), style.table(rows, indent=2)]
    parts += ["", _root_flags(style, everything=everything)]
    if not everything and any(b.option.rare for b in options):
        parts += ["", "Rarer flags: --help-all."]
    return "\n".join(parts)


def spelling(bound: BoundOption) -> str:
    """The flags of an option with the placeholder of its value, such as ``-d, --data FILE|NAME``."""
    flags = sorted(bound.option.flags, key=len)
    if isinstance(bound.option.kind, Switch):
        return ", ".join([*flags, bound.negative_flag or ""]) if bound.default is None else _switch(bound, flags)
    return f"{', '.join(flags)} {_placeholder(bound)}"


def default_text(bound: BoundOption) -> str:
    """The default as a reader wants it: the value, or what happens when it is left unset."""
    if bound.default is None:
        return bound.option.unset or "unset"
    if isinstance(bound.option.kind, Switch):
        return "on" if bound.default else bound.option.unset or "off"
    return str(bound.option.kind.text(bound.default))


def _switch(bound: BoundOption, flags: list[str]) -> str:
    return str(bound.negative_flag) if bound.default else ", ".join(flags)


def _placeholder(bound: BoundOption) -> str:
    option = bound.option
    if option.metavar:
        return option.metavar
    if isinstance(option.kind, (Choice, Several)):
        return "|".join(option.kind.words)
    return {Whole: "N", Real: "X", Names: "NAMES"}.get(type(option.kind), "TEXT")


def _row(bound: BoundOption, style: Style, *, everything: bool) -> tuple[str, str]:
    text = bound.option.help
    if isinstance(bound.option.kind, Switch) and bound.default is True:
        text = f"Turn this off: {text[:1].lower()}{text[1:]}"
    default = default_text(bound)
    # Switches that are off say so by being there.
    text += "" if isinstance(bound.option.kind, Switch) and default in ("on", "off") else f" [{default}]"
    if everything and bound.env:
        text += f" ({bound.env})"
    name = spelling(bound)
    if len(name) > 34:  # a long list of choices would squeeze the text beside it
        kind, dots = bound.option.kind, "" if bound.negative_flag else " …"
        name = f"{', '.join(sorted(bound.option.flags, key=len))}{dots}"
        text += f" One of: {', '.join(kind.words)}." if isinstance(kind, (Choice, Several)) else ""
        text += f" Off: {bound.negative_flag}." if bound.negative_flag else ""
    return style.cyan(name), text


def _root_flags(style: Style, *, everything: bool) -> str:
    rows = [_row(b, style, everything=everything) for b in options_of(LogSettings)]
    rows += [
        (style.cyan("-h, --help"), "Print this."),
        (style.cyan("--help-all"), "Print this with everything."),
        (style.cyan("-V, --version"), "Print the version."),
    ]
    return f"{style.bold('With every command')}\n{style.table(rows, indent=2)}"
