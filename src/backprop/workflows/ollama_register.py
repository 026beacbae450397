"""``backprop ollama register``: a GGUF file, or an adapter that becomes one, as a model of Ollama's."""

from __future__ import annotations

from pathlib import Path

from backprop.effects.export.ollama import connect
from backprop.effects.export.staging import name_of_export
from backprop.effects.probe.generation import ADAPTER_CONFIG
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.export.ollama_name import part_from
from backprop.plan.settings.verbs.ollama_register import OllamaRegisterSettings
from backprop.plan.wire.outcome import Outcome, ok
from backprop.workflows.export_ollama import GGUF_ENDING
from backprop.workflows.gguf_of_adapter import gguf_of_adapter
from backprop.workflows.registration import CODE, check_wanted, register_gguf
from backprop.workflows.request import Request

COMMAND = "ollama register"


def run(request: Request[OllamaRegisterSettings]) -> Outcome:
    """Find the file, judge it, upload and make the model."""
    settings = request.settings
    ollama = connect(code=CODE)
    given = Path(settings.path).expanduser()
    file, tokenizer_dir = _gguf_file(given), given if given.is_dir() else given.parent
    name = settings.name or part_from(_called(given))
    modelfile = Path(settings.modelfile).expanduser() if settings.modelfile else None
    if file is None:  # an export takes minutes; what can be refused is refused before
        where = "--name" if settings.name else "PATH"
        check_wanted(ollama, name=name, where=where, modelfile=modelfile, overwrite=settings.overwrite)
        exported = gguf_of_adapter(given, emit=request.emit)
        file = next(Path(each.path) for each in exported.files if each.path.endswith(GGUF_ENDING))
        tokenizer_dir = Path(exported.source)
    done = register_gguf(
        file,
        ollama,
        name=name,
        modelfile=modelfile,
        tokenizer_dir=tokenizer_dir,
        overwrite=settings.overwrite,
        emit=request.emit,
    )
    return ok(COMMAND, done.report, warnings=(*request.warnings, *done.warnings))


def _called(given: Path) -> str:
    """What a file or a directory is called; an export in a directory of its format's name is called by its own."""
    if given.is_file():
        return given.absolute().stem
    return name_of_export(given) or given.absolute().name


def _gguf_file(path: Path) -> Path | None:
    """The file itself, or the only one in the directory; None for a directory that is to be exported."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise _refusal(f"{path} does not exist.", "Give a GGUF file, a directory with one, or an adapter directory.")
    found = [] if (path / ADAPTER_CONFIG).is_file() else sorted(path.glob(f"*{GGUF_ENDING}"))
    if len(found) > 1:
        raise _refusal(f"{path} holds {len(found)} GGUF files.", f"Name one of them, such as {found[0]}.")
    return found[0] if found else None


def _refusal(message: str, hint: str) -> BackpropError:
    return BackpropError(Problem("INPUT_VALIDATION_FAILED", message, where="PATH", hint=hint))
