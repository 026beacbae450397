"""What each verb takes: groups of settings, and a few fields of its own that only flags can set."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.settings.data import DataSettings
from backprop.plan.settings.kinds import Choice, Real, Switch, Whole, Words
from backprop.plan.settings.log import LogSettings
from backprop.plan.settings.lora import LoraSettings
from backprop.plan.settings.model import ModelSettings
from backprop.plan.settings.option import opt, part
from backprop.plan.settings.training import OutputSettings, TrainingSettings


class RunStatus(enum.Enum):
    """What a run's record says of it."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class Shell(enum.Enum):
    """Shells that completion is written for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def _json_flag(what: str) -> bool:
    return opt(Switch(), "--json", default=False, help=f"Print {what} as one JSON object on stdout.")  # type: ignore[no-any-return]


def _run_id() -> str:
    return opt(Words(), positional=True, help="Run id, or the beginning of one.", metavar="RUN_ID")  # type: ignore[no-any-return]


@attrs.frozen
class TrainSettings:
    """``backprop train``"""

    model: ModelSettings = part(ModelSettings)
    data: DataSettings = part(DataSettings)
    training: TrainingSettings = part(TrainingSettings)
    lora: LoraSettings = part(LoraSettings)
    config: str | None = opt(
        Words(),
        "--config",
        unset="./backprop.toml if there is one",
        help="Configuration file (TOML).",
        metavar="FILE",
        file_like=True,
    )
    resume: str | None = opt(
        Words(),
        "--resume",
        unset="a new run",
        help="Continue this run instead of starting a new one.",
        metavar="RUN_ID",
    )
    dry_run: bool = opt(Switch(), "--dry-run", default=False, help="Print the plan and stop before loading the model.")
    show_mask: int = opt(
        Whole(minimum=0),
        "--show-mask",
        default=0,
        help="Print this many rows as the model will see them, what is learned in colour.",
        metavar="N",
    )
    json: bool = _json_flag("the plan and the result")


@attrs.frozen
class ResumeSettings:
    """``backprop resume``"""

    output: OutputSettings = part(OutputSettings)
    run_id: str = _run_id()
    steps: int | None = opt(
        Whole(minimum=1),
        "--steps",
        unset="as planned",
        help="Train until this step in all; extends a finished run.",
    )
    json: bool = _json_flag("the result")


@attrs.frozen
class RunsSettings:
    """``backprop runs`` and its older name ``list-runs``"""

    output: OutputSettings = part(OutputSettings)
    limit: int = opt(Whole(minimum=1), "--limit", default=20, help="Show at most this many runs, newest first.")
    status: RunStatus | None = opt(Choice(RunStatus), "--status", unset="all", help="Only runs of this status.")
    json: bool = _json_flag("the runs")


@attrs.frozen
class ShowRunSettings:
    """``backprop show-run``"""

    output: OutputSettings = part(OutputSettings)
    run_id: str = _run_id()
    json: bool = _json_flag("the run")


@attrs.frozen
class GenerateSettings:
    """``backprop generate``"""

    adapter_path: str = opt(
        Words(),
        positional=True,
        help="Adapter directory, the --output of a train run, or a model directory.",
        metavar="ADAPTER_PATH",
        file_like=True,
    )
    prompt: str = opt(Words(), positional=True, help="The prompt; - reads it from standard input.", metavar="PROMPT")
    base: str | None = opt(
        Words(), "--base", unset="read from the adapter", help="Base model (Hub id or directory).", file_like=True
    )
    max_new_tokens: int = opt(
        Whole(minimum=1), "--max-new-tokens", default=128, help="Most new tokens of a completion."
    )
    num: int = opt(Whole(minimum=1), "--num", "-n", default=1, help="Number of completions.")
    temperature: float = opt(
        Real(at_least=0), "--temperature", default=0.7, help="Sampling temperature; 0 takes the likeliest token."
    )
    seed: int = opt(Whole(minimum=0, maximum=2**32 - 1), "--seed", default=0, help="Seed of the sampling.")
    raw: bool = opt(Switch(), "--raw", default=False, help="Give the prompt as it is, without the chat template.")
    json: bool = _json_flag("the completions")


@attrs.frozen
class InfoSettings:
    """``backprop info``"""

    json: bool = _json_flag("everything")
    subcommand_tiers: bool = opt(
        Switch(),
        "--subcommand-tiers",
        default=False,
        help="Print which commands are stable, experimental or deprecated.",
    )
    env_vars: bool = opt(
        Switch(), "--env-vars", default=False, help="Print every BACKPROPAGATE_ variable that is in force."
    )
    error_codes: bool = opt(Switch(), "--error-codes", default=False, help="Print the catalogue of error codes.")


@attrs.frozen
class EverySetting:
    """Every group there is: what configuration files and variables may name."""

    model: ModelSettings = part(ModelSettings)
    data: DataSettings = part(DataSettings)
    training: TrainingSettings = part(TrainingSettings)
    lora: LoraSettings = part(LoraSettings)
    log: LogSettings = part(LogSettings)


@attrs.frozen
class ConfigSettings:
    """``backprop config``"""

    show: bool = opt(
        Switch(),
        "--show",
        default=False,
        unset="on when nothing else is asked",
        help="Print each setting, its value and where it came from.",
    )
    set: str | None = opt(
        Words(), "--set", unset="nothing", help="Write a setting to your user file.", metavar="KEY=VALUE"
    )
    reset: bool = opt(
        Switch(), "--reset", default=False, help="Remove your user file; it is kept beside itself as .bak."
    )
    config: str | None = opt(
        Words(),
        "--config",
        unset="./backprop.toml if there is one",
        help="Configuration file (TOML).",
        metavar="FILE",
        file_like=True,
    )
    json: bool = _json_flag("the settings")


@attrs.frozen
class CompletionSettings:
    """``backprop completion``"""

    shell: Shell = opt(Choice(Shell), positional=True, help="bash, zsh or fish.", metavar="SHELL")
