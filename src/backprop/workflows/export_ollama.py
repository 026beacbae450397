"""What ``backprop export`` does with Ollama: a GGUF file registered there, or an adapter on a base that it has."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import attrs

from backprop.effects.export.gguf_adapter import check_writer, write_adapter_file
from backprop.effects.export.merged import files_of, tokenizer_directory
from backprop.effects.export.ollama import connect
from backprop.effects.export.staging import check_output, staged
from backprop.plan.decision import Problem, Refused
from backprop.plan.errors import BackpropError
from backprop.plan.events import Event, Stage
from backprop.plan.export.gguf.adapter import LoraPlan, plan_lora
from backprop.plan.export.ollama_name import part_from
from backprop.plan.export.plan import Check, Exported, ExportPlan
from backprop.plan.export.report import ExportReport
from backprop.plan.settings.verbs.export import ExportFormat, ExportSettings
from backprop.workflows.registration import (
    CODE,
    Registered,
    checked_name,
    derived_from,
    observe_ollama_base,
    register_adapter,
    register_gguf,
    shelf_target,
    shown_base,
)
from backprop.workflows.request import Emit

GGUF_ENDING = ".gguf"


def asks_for_ollama(settings: ExportSettings) -> bool:
    """Whether the export ends in Ollama; --ollama has no effect beside the other formats."""
    return {ExportFormat.OLLAMA_ADAPTER: settings.register, ExportFormat.GGUF: settings.ollama}.get(
        settings.format, False
    )


def check_ollama(settings: ExportSettings, plan: ExportPlan) -> tuple[Problem, ...]:
    """A name that Ollama refuses, a base that it lacks, a template that it cannot write, a server that does not answer.

    All of it is told before minutes of work.
    """
    try:
        if plan.format is ExportFormat.OLLAMA_ADAPTER:
            assert plan.base_model is not None, "an adapter without --base-model is refused at once"
            base = observe_ollama_base(plan.base_model)
            shelf_target(base, tag=plan.adapter_tag, name=settings.ollama_name)
            tokenizer = Path(plan.source)
        else:
            checked_name(settings.ollama_name or part_from(plan.name), where="--ollama-name")
            base, tokenizer = None, Path(tokenizer_directory(plan))
        derived_from(tokenizer)
        ollama = connect(code=CODE)
        ollama.models()
        if base is not None and base.file is None:
            shown_base(base.name, ollama)
    except BackpropError as error:
        return error.problems
    return ()


def register_exported(
    settings: ExportSettings, plan: ExportPlan, report: ExportReport, emit: Emit
) -> tuple[ExportReport, tuple[Problem, ...]]:
    """Register the file that was written; the report with its name in Ollama, and what is to be said of that."""
    file = next(Path(file.path) for file in report.files if file.path.endswith(GGUF_ENDING))
    ollama, source = connect(code=CODE), Path(plan.source)
    if plan.format is ExportFormat.OLLAMA_ADAPTER:
        assert plan.base_model is not None, "an adapter without --base-model is refused at once"
        done = register_adapter(
            file,
            ollama,
            base=observe_ollama_base(plan.base_model),
            tag=plan.adapter_tag,
            name=settings.ollama_name,
            adapter_dir=source,
            emit=emit,
        )
    else:
        name = settings.ollama_name or part_from(plan.name)
        done = register_gguf(file, ollama, name=name, tokenizer_dir=source, emit=emit)
    return _with_name(report, done), done.warnings


def register_command(settings: ExportSettings, plan: ExportPlan, report: ExportReport) -> str:
    """The command that registers the file that stands; an adapter's base is only named to the export."""
    if plan.format is ExportFormat.OLLAMA_ADAPTER:
        return ""
    file = next(file.path for file in report.files if file.path.endswith(GGUF_ENDING))
    name = settings.ollama_name or part_from(plan.name)
    return shlex.join(["backprop", "ollama", "register", file, "--name", name])


def _with_name(report: ExportReport, done: Registered) -> ExportReport:
    name, replaced = done.report.name.removesuffix(":latest"), done.report.replaced
    checks = (*report.checks, *_proof(done))
    return attrs.evolve(report, ollama_name=name, ollama_replaced=replaced, checks=checks)


def _proof(done: Registered) -> tuple[Check, ...]:
    """The server was asked for its template after it was given one; another one is a warning."""
    is_proved = done.report.template is not None and not done.warnings
    return (Check("prompts in Ollama", "those of the training template"),) if is_proved else ()


def check_lora(plan: ExportPlan) -> tuple[Problem, ...]:
    """What keeps the adapter from becoming a GGUF adapter."""
    if plan.adapter is None:
        message = f"{plan.source} is a whole model; there is no adapter to register."
        return (Problem("INPUT_VALIDATION_FAILED", message, where="--format", hint="Use --format gguf --ollama."),)
    planned = _lora_plan(plan)
    if isinstance(planned, Refused):
        return planned.problems
    # Float32 takes at most twice what the adapter takes now.
    room = check_output(plan, num_bytes=2 * plan.source_bytes)
    return (*check_writer(), *room)


def write_gguf_adapter(plan: ExportPlan, out: Path, *, emit: Callable[[Event], None]) -> Exported:
    """Write the adapter as a GGUF file of its own to ``out``. Raises as :func:`write_adapter_file`."""
    planned = _lora_plan(plan)
    assert isinstance(planned, LoraPlan), "what cannot be written was refused"
    with staged(plan, out) as directory:
        emit(Stage("writing the adapter"))
        read_back = write_adapter_file(planned, directory / plan.gguf_name)
    return Exported(files_of(out), (read_back,))


def _lora_plan(plan: ExportPlan) -> LoraPlan | Refused:
    """The shape of the base decides names and permutations; its weights are not needed."""
    assert plan.adapter is not None, "check_lora asked"
    assert plan.shape is not None, "the format needs the base's shape"
    return plan_lora(plan.adapter, plan.shape.config, name=plan.name)
