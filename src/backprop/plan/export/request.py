"""What can be said of an export before anything is looked at closely: flags that clash, names, the card."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

import attrs

from backprop.plan.decision import Problem, warning
from backprop.plan.export.sources import AdapterFacts
from backprop.plan.export.trained import is_on_hub, without_directory
from backprop.plan.settings.verbs.export import ExportFormat, ExportSettings

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_LONGEST_NAME = 80
_DEFAULT_QUANTIZATION = attrs.fields(ExportSettings).quantization.default


def check_request(settings: ExportSettings) -> tuple[Problem, ...]:
    """Errors for flags that exclude or need each other, warnings for flags that cannot matter."""
    return (*_errors(settings), *_warnings(settings))


def _errors(settings: ExportSettings) -> Iterator[Problem]:
    if settings.hub_token is not None and settings.hub_token_file is not None:
        message = "--hub-token and --hub-token-file cannot be given together."
        hint = "Keep --hub-token-file; the other one shows the token to everybody on this machine."
        yield Problem("INPUT_VALIDATION_FAILED", message, where="--hub-token", hint=hint)
    if _goes_on_shelf(settings) and settings.base_model is None:
        message = "--format ollama-adapter needs the base in Ollama."
        hint = "Name it: --base-model llama3.2, or the base's GGUF file; --no-register writes the file alone."
        yield Problem("INPUT_VALIDATION_FAILED", message, where="--base-model", hint=hint)
    if settings.push is not None and settings.format is ExportFormat.OLLAMA_ADAPTER:
        message = "--push has nothing to push: --format ollama-adapter is for Ollama and llama.cpp on this machine."
        yield Problem("INPUT_VALIDATION_FAILED", message, where="--push", hint="Use --format lora, merged or gguf.")


def _warnings(settings: ExportSettings) -> Iterator[Problem]:
    beside, is_gguf = f"with --format {settings.format.value}", settings.format is ExportFormat.GGUF
    is_adapter, on_shelf = settings.format is ExportFormat.OLLAMA_ADAPTER, _goes_on_shelf(settings)
    off_shelf = "with --no-register" if is_adapter else beside
    unnamed = off_shelf if is_adapter else "without --ollama"
    idle = (
        ("--quantization", settings.quantization is not _DEFAULT_QUANTIZATION and not is_gguf, beside),
        ("--ollama", settings.ollama and not is_gguf, f"{beside}, only with gguf"),
        ("--ollama-name", settings.ollama_name and not (settings.ollama or on_shelf), unnamed),
        ("--no-register", not settings.register and not is_adapter, beside),
        ("--base-model", settings.base_model and not on_shelf, off_shelf),
        ("--adapter-tag", settings.adapter_tag and not on_shelf, off_shelf),
        ("--adapter-tag", settings.adapter_tag and settings.ollama_name and on_shelf, "beside --ollama-name"),
        ("--hub-token", settings.hub_token and settings.push is None, "without --push"),
        ("--hub-token-file", settings.hub_token_file and settings.push is None, "without --push"),
        ("--base", settings.base and settings.format is ExportFormat.LORA, beside),
    )
    for flag, is_idle, why in idle:
        if is_idle:
            yield warning("CONFIG_INVALID_SETTING", f"{flag} has no effect {why}.", where=flag, hint="Leave it out.")


def _goes_on_shelf(settings: ExportSettings) -> bool:
    return settings.format is ExportFormat.OLLAMA_ADAPTER and settings.register


def safe_name(text: str) -> str:
    """A file name out of any text: ASCII letters, digits, ``._-``, at most 80, not hidden, no device of Windows.

    Idempotent; "model" when nothing is left.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = _UNSAFE.sub("-", plain).strip("-._")[:_LONGEST_NAME].strip("-._")
    return f"model-{name}"[:_LONGEST_NAME] if _RESERVED.fullmatch(name) else name or "model"


_LIBRARIES = {
    ExportFormat.LORA: "peft",
    ExportFormat.MERGED: "transformers",
    ExportFormat.GGUF: "gguf",
    ExportFormat.OLLAMA_ADAPTER: "gguf",
}


def export_card(format: ExportFormat, adapter: AdapterFacts | None, *, name: str, file: str = "") -> str:
    """A short card for what has none of a run: what it is, of which base, how it was made and is used.

    ``file`` names the GGUF file, where there is one.
    """
    of = adapter.base_name if adapter else None
    is_alone, is_gguf = format in (ExportFormat.LORA, ExportFormat.OLLAMA_ADAPTER), _LIBRARIES[format] == "gguf"
    kind = "LoRA adapter" if is_alone else "Model with a LoRA adapter merged in" if adapter else "Model"
    kind += ", in a GGUF file" if is_gguf else ""
    # The Hub takes only names of its own models as base_model, and a directory is nobody else's business.
    on_hub = of is not None and is_on_hub(of)
    of = without_directory(of) if of is not None else None
    lines = ["---", *([f"base_model: {of}"] if on_hub else []), f"library_name: {_LIBRARIES[format]}"]
    tags = ("backprop", *(["lora"] if adapter else []), *(["gguf"] if is_gguf else []))
    lines += ["pipeline_tag: text-generation", "tags:", *(f"- {tag}" for tag in tags), "---", ""]
    lines += [f"# {name}", "", f"{kind}{f', base {of}' if of else ''}. Written by `backprop export`.", ""]
    if adapter:
        shape = f"Rank {adapter.rank}, alpha {adapter.alpha:g}, {len(adapter.modules)} modules"
        lines += [
            f"{shape}{', rank-stabilized' if adapter.use_rslora else ''}{', DoRA' if adapter.use_dora else ''}.",
            "",
        ]
    return "\n".join([*lines, *_use(format, file), ""])


def _use(format: ExportFormat, file: str) -> tuple[str, ...]:
    here = f"path/to/this/{file}" if file else "path/to/this"
    if format is ExportFormat.GGUF:
        return ("```sh", f"llama-cli -m {here}", "```")
    if format is ExportFormat.OLLAMA_ADAPTER:
        return ("```sh", f"llama-cli -m BASE.gguf --lora {here}", "```")
    auto = "AutoPeftModelForCausalLM" if format is ExportFormat.LORA else "AutoModelForCausalLM"
    load = (f"from {_LIBRARIES[format]} import {auto}", "", f'model = {auto}.from_pretrained("{here}")')
    return ("```python", *load, "```")
