"""Write docs/reference/ from the declarations; with --check, say which pages are stale and exit 1."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from backprop.cli.help import default_text, spelling
from backprop.plan.errors import CATALOGUE
from backprop.plan.settings.commands import COMMANDS, Command, Tier
from backprop.plan.settings.log import LogSettings
from backprop.plan.settings.option import BoundOption, options_of
from backprop.plan.settings.verbs.config import EverySetting

DIRECTORY = Path("docs/reference")
NOTE = "<!-- Written by tools/reference.py from the declarations; do not edit. -->"


def commands_page() -> str:
    """Every command with its arguments and flags."""
    parts = [f"# Commands\n\n{NOTE}"]
    parts += [_command(command) for command in COMMANDS]
    parts.append(f"## With every command\n\n{_flags(options_of(LogSettings))}")
    return "\n\n".join(parts) + "\n"


def settings_page() -> str:
    """Every setting that a file or a variable can give."""
    groups: dict[str, list[BoundOption]] = {}
    for bound in options_of(EverySetting):
        groups.setdefault(bound.group, []).append(bound)
    intro = (
        "A flag wins over a variable, a variable over `.env`, that over the configuration file (`--config FILE`, else\n"
        "`./backprop.toml`), that over your user file, and that over the default. `backprop config --show` prints\n"
        "each value with where it came from."
    )
    parts = [f"# Settings\n\n{NOTE}\n\n{intro}"]
    for name, options in groups.items():
        rows = [("key", "flag", "variable", "takes", "default")]
        rows += [
            (f"`{b.key}`", f"`{b.flag}`", f"`{b.env}`", b.option.kind.shape, default_text(b).replace("|", "or"))
            for b in options
        ]
        parts.append(f"## {name}\n\n{_table(rows)}")
    return "\n\n".join(parts) + "\n"


def errors_page() -> str:
    """The catalogue of error codes."""
    rows = [("code", "exit", "again?", "meaning", "next step")]
    rows += [
        (f"`{e.code}`", str(e.exit_code), "yes" if e.retryable else "", e.meaning, e.hint) for e in CATALOGUE.values()
    ]
    intro = "`again?` says whether the same command may succeed when it is run again."
    return f"# Error codes\n\n{NOTE}\n\n{intro}\n\n{_table(rows)}\n"


def settings_schema() -> str:
    """The JSON schema of a configuration file."""
    groups: dict[str, Any] = {}
    for bound in options_of(EverySetting):
        group = groups.setdefault(bound.group, {"type": "object", "additionalProperties": False, "properties": {}})
        group["properties"][bound.name] = {"description": bound.option.help, **bound.option.kind.json_schema()}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "backprop.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": groups,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


PAGES = {
    "commands.md": commands_page,
    "errors.md": errors_page,
    "settings.md": settings_page,
    "settings.schema.json": settings_schema,
}


def _command(command: Command) -> str:
    title = f"## backprop {command.name}"
    if command.tier is Tier.DEPRECATED:
        return f"{title}\n\n{command.summary} Deprecated: use `backprop {command.prefer}`."
    tier = "" if command.tier is Tier.STABLE else f" ({command.tier.value})"
    options = options_of(command.settings)
    positionals = [b for b in options if b.option.positional]
    usage = " ".join(("backprop", command.name, *(b.option.metavar or b.flag for b in positionals), "[FLAGS]"))
    parts = [title, f"{command.summary}{tier}", f"    {usage}"]
    if positionals:
        parts.append("\n".join(f"- `{b.option.metavar or b.flag}`: {b.option.help}" for b in positionals))
    flags = _flags(b for b in options if not b.option.positional)
    return "\n\n".join([*parts, flags] if flags else parts)


def _flags(options: Any) -> str:
    rows = [("flag", "default", "meaning")]
    rows += [(f"`{spelling(b)}`".replace("|", "\\|"), default_text(b), b.option.help) for b in options]
    return _table(rows) if len(rows) > 1 else ""


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    header, *body = rows
    lines = [_line(header), _line(["---"] * len(header)), *map(_line, body)]
    return "\n".join(lines)


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def stale() -> Iterator[str]:
    """The names of pages that are not what the declarations say."""
    for name, write in PAGES.items():
        path = DIRECTORY / name
        if not path.is_file() or path.read_text(encoding="utf-8") != write():
            yield name


def main() -> int:
    """Write or check. Returns the exit code."""
    if sys.argv[1:] == ["--check"]:
        names = list(stale())
        if names:
            print(f"Stale in {DIRECTORY}: {', '.join(names)}. Run python tools/reference.py")
        return 1 if names else 0
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, write in PAGES.items():
        (DIRECTORY / name).write_text(write(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
