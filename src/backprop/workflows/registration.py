"""Making a model in Ollama: everything that can be refused is refused before the first byte is uploaded."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import attrs

from backprop.effects.export.ollama import Blob, Ollama
from backprop.effects.probe.gguf_file import is_gguf, observe_gguf
from backprop.effects.probe.turns import modelfile_of_gguf, modelfile_of_tokenizer
from backprop.plan.decision import Problem, Refused, warning
from backprop.plan.errors import BackpropError
from backprop.plan.events import Stage
from backprop.plan.export.gguf_file import GgufFile
from backprop.plan.export.modelfile import Modelfile, create_body, names_a_file, parse_modelfile
from backprop.plan.export.ollama_models import OllamaRegisterReport, ShownModel, check_adapter_fits_shown
from backprop.plan.export.ollama_name import OllamaName, parse_name, part_from, shelf_name
from backprop.plan.export.registration import Registration, Sources, completed, plan_registration
from backprop.workflows.request import Emit

T = TypeVar("T")
CODE = "DEP_OLLAMA_REGISTRATION_FAILED"


@attrs.frozen
class Registered:
    """How a registration ended."""

    report: OllamaRegisterReport
    warnings: tuple[Problem, ...] = ()


def check_wanted(ollama: Ollama, *, name: str, where: str, modelfile: Path | None, overwrite: bool) -> None:
    """What of a registration can be refused before there is a file to register. Raises as :func:`register_gguf`."""
    if modelfile is not None:
        _read_modelfile(modelfile)
    _replaces(checked_name(name, where=where), ollama, overwrite=overwrite)


def register_gguf(
    path: Path,
    ollama: Ollama,
    *,
    name: str | None = None,
    modelfile: Path | None = None,
    tokenizer_dir: Path | None = None,
    overwrite: bool = True,
    emit: Emit,
) -> Registered:
    """Register a GGUF file, a model or an adapter; what the Modelfile leaves open comes from the training.

    ``tokenizer_dir`` holds the tokenizer and template of the training where the file itself has none. Raises
    ``BackpropError``: INPUT_VALIDATION_FAILED, INPUT_CHAT_TEMPLATE_INVALID, DEP_OLLAMA_REGISTRATION_FAILED.
    """
    target = checked_name(name or part_from(path.stem), where="--name" if name else "PATH")
    own = _read_modelfile(modelfile) if modelfile is not None else Modelfile()
    sources = _observe_sources(path, own, modelfile.parent if modelfile is not None else Path())
    whole = completed(own, Modelfile() if own.template is not None else _derived(sources, tokenizer_dir))
    return _carry_out(_accepted(plan_registration(target, sources, whole)), ollama, overwrite=overwrite, emit=emit)


@attrs.frozen
class OllamaBase:
    """The base that --base-model means: a model of Ollama's, or a GGUF file."""

    name: str
    """As it was given."""
    file: GgufFile | None


def observe_ollama_base(base_model: str) -> OllamaBase:
    """What --base-model means. Raises INPUT_VALIDATION_FAILED for a file that cannot be used."""
    path = Path(base_model).expanduser()
    return OllamaBase(base_model, observe_gguf(path) if names_a_file(base_model) or is_gguf(path) else None)


def shelf_target(base: OllamaBase, *, tag: str, name: str | None) -> OllamaName:
    """The name of an adapter: ``name``, else ``base:tag``. Raises INPUT_VALIDATION_FAILED for what Ollama refuses."""
    if name is not None:
        return checked_name(name, where="--ollama-name")
    shelf = OllamaName(part_from(Path(base.name).stem)) if base.file else checked_name(base.name, where="--base-model")
    return checked_name(str(shelf_name(shelf, tag)), where="--adapter-tag")


def register_adapter(
    adapter: Path,
    ollama: Ollama,
    *,
    base: OllamaBase,
    tag: str,
    name: str | None = None,
    adapter_dir: Path,
    emit: Emit,
) -> Registered:
    """Register a GGUF adapter unmerged on ``base`` as ``base:tag``, or as ``name``; one of that name is replaced.

    ``adapter_dir`` holds the tokenizer and template of the training; without them the base's template stands. Raises
    as :func:`register_gguf`.
    """
    target = shelf_target(base, tag=tag, name=name)
    sources = Sources(observe_gguf(adapter), from_file=base.file)
    derived = derived_from(adapter_dir) or _derived(sources, None)
    modelfile = attrs.evolve(derived, source=base.name)
    return _carry_out(_accepted(plan_registration(target, sources, modelfile)), ollama, overwrite=True, emit=emit)


def shown_base(base_model: str, ollama: Ollama) -> ShownModel:
    """What Ollama says of a base. Raises INPUT_VALIDATION_FAILED when it has none of the name."""
    base = checked_name(base_model, where="--base-model")
    shown = ollama.show(str(base))
    if shown is None:
        # A name that the server does not have would be pulled from the registry, whoever owns it there.
        raise BackpropError(
            Problem(
                "INPUT_VALIDATION_FAILED",
                f"Ollama has no model {base} for the adapter to build on.",
                where="--base-model",
                hint=f"Name the GGUF file in the directory {base_model}."
                if Path(base_model).expanduser().is_dir()
                else f"Fetch it with `ollama pull {base}`, or see `backprop ollama list`.",
            )
        )
    return shown


def _carry_out(plan: Registration, ollama: Ollama, *, overwrite: bool, emit: Emit) -> Registered:
    replaced = _replaces(plan.name, ollama, overwrite=overwrite)
    if plan.from_model is not None:
        assert plan.adapter is not None, "what brings no weights of its own brings an adapter"
        problems = check_adapter_fits_shown(plan.adapter, shown_base(str(plan.from_model), ollama))
        if problems:  # Ollama would apply it all the same
            raise BackpropError(*problems)
    model, adapter = (_uploaded(file, ollama, emit) for file in (plan.model, plan.adapter))
    emit(Stage(f"making {plan.name}"))
    body = create_body(
        plan.modelfile,
        name=str(plan.name),
        from_model=str(plan.from_model) if plan.from_model else None,
        files={"model.gguf": model.digest} if model else None,
        adapters={"adapter.gguf": adapter.digest} if adapter else None,
    )
    ollama.create(body, emit=emit)
    main = plan.adapter if plan.model is None else plan.model
    assert main is not None
    stops = dict(plan.modelfile.parameters).get("stop", ())
    report = OllamaRegisterReport(
        host=str(ollama.address),
        name=str(plan.name),
        path=main.path,
        base=str(plan.from_model) if plan.from_model else None,
        adapter=plan.adapter is not None,
        replaced=replaced,
        uploaded_bytes=sum(blob.uploaded_bytes for blob in (model, adapter) if blob),
        stop=stops if isinstance(stops, tuple) else (),
        template=plan.modelfile.template,
    )
    return Registered(report, (*_untemplated(plan), *_doubts(plan, ollama)))


def _replaces(name: OllamaName, ollama: Ollama, *, overwrite: bool) -> bool:
    """Whether a model has the name already. Raises INPUT_VALIDATION_FAILED when that one must stay."""
    there = (parse_name(model.name) for model in ollama.models())
    is_taken = name.key in {each.key for each in there if isinstance(each, OllamaName)}
    if is_taken and not overwrite:
        message = f"Ollama has a model {name} already."
        hint = "Choose another name, or let it be replaced: leave --no-overwrite out."
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", message, where="--no-overwrite", hint=hint))
    return is_taken


def _uploaded(file: GgufFile | None, ollama: Ollama, emit: Emit) -> Blob | None:
    return ollama.ensure_blob(Path(file.path), emit=emit) if file is not None else None


def _untemplated(plan: Registration) -> tuple[Problem, ...]:
    if plan.modelfile.template is not None:
        return ()
    message = f"{plan.name} has no chat template: Ollama will give it prompts as they are."
    if plan.from_model is not None:
        message = f"{plan.name} has no chat template of its own training: Ollama gives it that of {plan.from_model}."
    return (warning("INPUT_CHAT_TEMPLATE_MISSING", message, hint="Pass --modelfile with a TEMPLATE."),)


def _doubts(plan: Registration, ollama: Ollama) -> tuple[Problem, ...]:
    """Whether the server has what it was given; it may rewrite files, so that their digests say nothing."""
    shown = ollama.show(str(plan.name))
    if shown is None:
        message = f"Ollama says that it made {plan.name}, and does not have it."
        raise BackpropError(Problem(CODE, message, where=str(ollama.address)))
    wanted = plan.modelfile.template
    if wanted is not None and shown.template.strip() != wanted.strip():
        message = f"Ollama has another template for {plan.name} than the one that was sent."
        return (warning(CODE, message, hint=f"See `ollama show --template {plan.name}`."),)
    if plan.adapter is not None and not shown.adapters:
        message = f"Ollama made {plan.name} and shows no adapter in it."
        return (warning(CODE, message, hint=f"See `ollama show --modelfile {plan.name}`."),)
    return ()


def _derived(sources: Sources, tokenizer_dir: Path | None) -> Modelfile:
    holder = next((file for file in (sources.main, sources.from_file) if file and file.chat_template), None)
    if holder is not None:
        return modelfile_of_gguf(holder)
    return (derived_from(tokenizer_dir) if tokenizer_dir is not None else None) or Modelfile()


def derived_from(tokenizer_dir: Path) -> Modelfile | None:
    """Template, stop tokens and system prompt of a training; None where no tokenizer stands.

    Raises INPUT_CHAT_TEMPLATE_INVALID for a template whose prompts Ollama could not write.
    """
    return modelfile_of_tokenizer(tokenizer_dir) if (tokenizer_dir / "tokenizer.json").is_file() else None


def _observe_sources(path: Path, modelfile: Modelfile, directory: Path) -> Sources:
    """Relative paths in a Modelfile begin at its own directory."""
    source = modelfile.source if names_a_file(modelfile.source) else None
    named = {"FROM": source, "ADAPTER": next(iter(modelfile.adapters), None)}
    from_file, adapter = (
        _named_file(instruction, directory / Path(file).expanduser(), path) if file else None
        for instruction, file in named.items()
    )
    return Sources(observe_gguf(path), from_file, adapter)


def _named_file(instruction: str, named: Path, path: Path) -> GgufFile:
    """The file that an instruction of the Modelfile names; ``path`` itself where that is the same."""
    is_same = named.exists() and path.exists() and named.samefile(path)
    try:
        return observe_gguf(path if is_same else named)
    except BackpropError as error:
        hint = f"Mend {instruction} in the Modelfile; a relative path begins at the Modelfile's directory."
        raise BackpropError(attrs.evolve(error.problems[0], where="--modelfile", hint=hint)) from error


def _read_modelfile(path: Path) -> Modelfile:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as wrong:
        reason = wrong.strerror if isinstance(wrong, OSError) else "it is not UTF-8 text"
        message, hint = f"{path} cannot be read: {reason}.", "Name a Modelfile, or leave --modelfile out."
        raise BackpropError(Problem("INPUT_VALIDATION_FAILED", message, where="--modelfile", hint=hint)) from wrong
    return _accepted(parse_modelfile(text, name=str(path)))


def checked_name(text: str, *, where: str) -> OllamaName:
    """The name in ``text``. Raises INPUT_VALIDATION_FAILED for one that Ollama refuses."""
    name = parse_name(text, where=where)
    if isinstance(name, Problem):
        raise BackpropError(name)
    return name


def _accepted(planned: T | Refused) -> T:
    if isinstance(planned, Refused):
        raise BackpropError(*planned.problems)
    return planned
