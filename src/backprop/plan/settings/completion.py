"""The scripts with which shells complete commands, flags, choices and files, written from the declarations."""

from __future__ import annotations

from backprop.plan.settings.command_line import flags_of, options_for
from backprop.plan.settings.commands import COMMANDS, Command, families, family_of
from backprop.plan.settings.kinds import Choice, Several
from backprop.plan.settings.option import BoundOption
from backprop.plan.settings.verbs.completion import Shell

CLOSED = (Choice, Several)
"""Kinds whose words can be listed."""


def completion_script(shell: Shell) -> str:
    """The script of a shell, ready to be sourced."""
    return _fish() if shell is Shell.FISH else _bash(zsh=shell is Shell.ZSH)


def _bash(*, zsh: bool) -> str:
    """zsh runs the same function through its own emulation of bash's completion."""
    values = dict.fromkeys(line for c in COMMANDS for b in options_for(c) for line in _bash_values(c, b))
    flags = [f'    {word}) words="{" ".join(_verbs(word))} --help" ;;' for word in families()]
    for command in COMMANDS:
        words = " ".join(["--help", "--help-all", *(f for b in options_for(command) for f in flags_of(b))])
        flags.append(f'    "{command.name}") words="{words}" ;;')
    begin = " ".join(dict.fromkeys(c.name.split()[0] for c in COMMANDS))
    names = "|".join([*families(), *(c.name for c in COMMANDS)])
    head = "autoload -U +X bashcompinit && bashcompinit\n" if zsh else ""
    return f"""{head}_backprop() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" command="" words="" word
  COMPREPLY=()
  [[ "$current" == "=" ]] && current=""
  [[ "$previous" == "=" ]] && previous="${{COMP_WORDS[COMP_CWORD-2]}}"
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "|{names}|" in *"|${{command:+$command }}$word|"*) command="${{command:+$command }}$word" ;; esac
  done
  case "$command $previous" in
{chr(10).join(values)}
  esac
  case "$command" in
    "") words="{begin} --help --version" ;;
    completion) words="{" ".join(s.value for s in Shell)}" ;;
{chr(10).join(f for f in flags if not f.strip().startswith('"completion"'))}
  esac
  if [[ "$current" == -* || -z "$command" || "|completion|{"|".join(families())}|" == *"|$command|"* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  else
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}}
complete -o filenames -F _backprop backprop"""


def _bash_values(command: Command, bound: BoundOption) -> list[str]:
    """What may follow an option of a command: its words, or files."""
    names = "|".join(f'"{command.name} {flag}"' for flag in bound.option.flags)
    if bound.option.positional or not (isinstance(bound.option.kind, CLOSED) or bound.option.file_like):
        return []
    given = f'-W "{" ".join(bound.option.kind.words)}"' if isinstance(bound.option.kind, CLOSED) else "-f"
    return [f'    {names}) COMPREPLY=($(compgen {given} -- "$current")); return ;;']


def _verbs(word: str) -> list[str]:
    return [c.name.split()[1] for c in family_of(word)]


def _fish() -> str:
    lines = ["complete -c backprop -f"]
    for word in families():
        lines.append(f"complete -c backprop -n __fish_use_subcommand -a {word} -d '{', '.join(_verbs(word))}'")
    for command in COMMANDS:
        summary = command.summary.replace("'", r"\'")
        lines.append(f"complete -c backprop -n {_fish_place(command)} -a {command.name.split()[-1]} -d '{summary}'")
        for bound in options_for(command):
            lines.extend(_fish_lines(command, bound))
    shells = " ".join(s.value for s in Shell)
    lines.append(f"complete -c backprop -n '__fish_seen_subcommand_from completion' -a '{shells}'")
    return "\n".join(lines)


def _fish_seen(command: Command) -> str:
    return "; and ".join(f"__fish_seen_subcommand_from {word}" for word in command.name.split())


def _fish_place(command: Command) -> str:
    """Where the last word of the command's name may stand."""
    word, _, verb = command.name.partition(" ")
    if not verb:
        return "__fish_use_subcommand"
    seen = "__fish_seen_subcommand_from"
    return f"'{seen} {word}; and not {seen} {' '.join(_verbs(word))}'"


def _fish_lines(command: Command, bound: BoundOption) -> list[str]:
    seen = f"complete -c backprop -n '{_fish_seen(command)}'"
    help_text = bound.option.help.replace("\\", r"\\").replace("'", r"\'")
    if bound.option.positional:
        return [f"{seen} -F"] if bound.option.file_like else []
    value = ""
    if isinstance(bound.option.kind, CLOSED):
        value = f" -x -a '{' '.join(bound.option.kind.words)}'"
    elif bound.negative_flag is None:
        value = " -r -F" if bound.option.file_like else " -x"
    spelled = " ".join(f"-l {f[2:]}" if f.startswith("--") else f"-s {f[1:]}" for f in bound.option.flags)
    lines = [f"{seen} {spelled}{value} -d '{help_text}'"]
    if bound.negative_flag:
        lines.append(f"{seen} -l {bound.negative_flag[2:]}")
    return lines
