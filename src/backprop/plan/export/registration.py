"""What is made of a GGUF file and a Modelfile in Ollama: which files go there, and what the model is built on."""

from __future__ import annotations

import attrs

from backprop.plan.decision import Problem, Refused
from backprop.plan.export.gguf_file import GgufFile, check_adapter, check_adapter_fits, check_model
from backprop.plan.export.modelfile import Modelfile, names_a_file
from backprop.plan.export.ollama_name import OllamaName, parse_name


@attrs.frozen
class Sources:
    """The files that a registration can be about, each looked at."""

    main: GgufFile
    """What was asked to be registered: a model or an adapter."""
    from_file: GgufFile | None = None
    """What FROM names, when that is a file."""
    adapter_file: GgufFile | None = None
    """What ADAPTER names."""


@attrs.frozen
class Registration:
    """A model to be made in Ollama."""

    name: OllamaName
    modelfile: Modelfile
    model: GgufFile | None
    """The weights that are uploaded; None when they stand in Ollama already."""
    from_model: OllamaName | None
    """The model of Ollama's that it builds on; set just when ``model`` is not."""
    adapter: GgufFile | None


def completed(own: Modelfile, derived: Modelfile) -> Modelfile:
    """The user's Modelfile with what it leaves open taken from the training.

    Stop tokens and system prompt belong to a template: with a template of its own none of them is added.
    """
    if own.template is not None:
        return own
    stops = any(key == "stop" for key, _ in own.parameters)
    return attrs.evolve(
        own,
        template=derived.template,
        system=own.system if own.system is not None else derived.system,
        parameters=own.parameters if stops else (*own.parameters, *derived.parameters),
    )


def plan_registration(name: OllamaName, sources: Sources, modelfile: Modelfile) -> Registration | Refused:
    """Who is the base and who the adapter, and whether they fit. Nothing of it touches a server."""
    problems = tuple(_problems(sources, modelfile))
    if problems:
        return Refused(problems)
    if not sources.main.is_adapter:
        return Registration(name, modelfile, sources.main, None, sources.adapter_file)
    if sources.from_file is not None:
        return Registration(name, modelfile, sources.from_file, None, sources.main)
    base = parse_name(modelfile.source, where="FROM")
    if isinstance(base, Problem):
        return Refused((base,))
    return Registration(name, modelfile, None, base, sources.main)


def _problems(sources: Sources, modelfile: Modelfile) -> list[Problem]:
    main, source = sources.main, modelfile.source
    if main.is_adapter:
        if not source:
            message = f"{main.path} holds an adapter, and nothing says which model it is for."
            hint = "Use `backprop export ADAPTER --format ollama-adapter --base-model MODEL`, or a Modelfile with FROM."
            return [_invalid(message, main.path, hint)]
        if sources.adapter_file is not None and sources.adapter_file.path != main.path:
            return [_invalid(f"ADAPTER names {sources.adapter_file.path}, and PATH is {main.path}.", "--modelfile")]
        fits = check_adapter(main) if sources.from_file is None else check_adapter_fits(main, sources.from_file)
        return list(fits)
    if source and not names_a_file(source):
        message = f"FROM names the model {source}, so that {main.path} would not be used."
        return [_invalid(message, "--modelfile", "Leave FROM out, or let it name the file.")]
    if sources.from_file is not None and sources.from_file.path != main.path:
        return [_invalid(f"FROM names {sources.from_file.path}, and PATH is {main.path}.", "--modelfile")]
    adapter = sources.adapter_file
    return list(check_model(main) if adapter is None else check_adapter_fits(adapter, main))


def _invalid(message: str, where: str, hint: str = "") -> Problem:
    return Problem("INPUT_VALIDATION_FAILED", message, where=where, hint=hint)
