"""The scripts with which shells complete commands, flags, choices and files, written from the declarations."""

from __future__ import annotations

from backprop.plan.settings.command_line import flags_of, options_for
from backprop.plan.settings.commands import COMMANDS, Command
from backprop.plan.settings.kinds import Choice
from backprop.plan.settings.option import BoundOption
from backprop.plan.settings.verbs.completion import Shell


def completion_script(shell: Shell) -> str:
    """The script of a shell, ready to be sourced."""
    return _fish() if shell is Shell.FISH else _bash(zsh=shell is Shell.ZSH)


def _bash(*, zsh: bool) -> str:
    """zsh runs the same function through its own emulation of bash's completion."""
    every = {b.key: b for c in COMMANDS for b in options_for(c) if not b.option.positional}
    values = []
    for bound in every.values():
        names = "|".join(bound.option.flags)
        if isinstance(bound.option.kind, Choice):
            words = " ".join(bound.option.kind.words)
            values.append(f'    {names}) COMPREPLY=($(compgen -W "{words}" -- "$current")); return ;;')
        elif bound.option.file_like:
            values.append(f'    {names}) COMPREPLY=($(compgen -f -- "$current")); return ;;')
    flags = []
    for command in COMMANDS:
        words = " ".join(["--help", "--help-all", *(f for b in options_for(command) for f in flags_of(b))])
        flags.append(f'    {command.name}) words="{words}" ;;')
    names = " ".join(c.name for c in COMMANDS)
    head = "autoload -U +X bashcompinit && bashcompinit\n" if zsh else ""
    return f"""{head}_backprop() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" command="" words="" word
  COMPREPLY=()
  [[ "$current" == "=" ]] && current=""
  [[ "$previous" == "=" ]] && previous="${{COMP_WORDS[COMP_CWORD-2]}}"
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case " {names} " in *" $word "*) command="$word"; break ;; esac
  done
  case "$previous" in
{chr(10).join(values)}
  esac
  case "$command" in
    "") words="{names} --help --version" ;;
    completion) words="{" ".join(s.value for s in Shell)}" ;;
{chr(10).join(f for f in flags if not f.strip().startswith("completion)"))}
  esac
  if [[ "$current" == -* || -z "$command" || "$command" == completion ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
  else
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}}
complete -o filenames -F _backprop backprop"""


def _fish() -> str:
    lines = ["complete -c backprop -f"]
    for command in COMMANDS:
        summary = command.summary.replace("'", r"\'")
        lines.append(f"complete -c backprop -n __fish_use_subcommand -a {command.name} -d '{summary}'")
        for bound in options_for(command):
            lines.extend(_fish_lines(command, bound))
    shells = " ".join(s.value for s in Shell)
    lines.append(f"complete -c backprop -n '__fish_seen_subcommand_from completion' -a '{shells}'")
    return "\n".join(lines)


def _fish_lines(command: Command, bound: BoundOption) -> list[str]:
    seen = f"complete -c backprop -n '__fish_seen_subcommand_from {command.name}'"
    help_text = bound.option.help.replace("\\", r"\\").replace("'", r"\'")
    if bound.option.positional:
        return [f"{seen} -F"] if bound.option.file_like else []
    value = ""
    if isinstance(bound.option.kind, Choice):
        value = f" -x -a '{' '.join(bound.option.kind.words)}'"
    elif bound.negative_flag is None:
        value = " -r -F" if bound.option.file_like else " -x"
    spelled = " ".join(f"-l {f[2:]}" if f.startswith("--") else f"-s {f[1:]}" for f in bound.option.flags)
    lines = [f"{seen} {spelled}{value} -d '{help_text}'"]
    if bound.negative_flag:
        lines.append(f"{seen} -l {bound.negative_flag[2:]}")
    return lines
