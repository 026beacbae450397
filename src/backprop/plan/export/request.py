"""What can be said of an export before anything is looked at closely: flags that clash, names, the card."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from backprop.plan.decision import Problem, warning
from backprop.plan.export.sources import AdapterFacts
from backprop.plan.export.trained import is_on_hub, without_directory
from backprop.plan.settings.verbs.export import ExportFormat, ExportSettings

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_LONGEST_NAME = 80


def check_request(settings: ExportSettings) -> tuple[Problem, ...]:
    """Errors for flags that exclude or need each other, warnings for flags that cannot matter."""
    return (*_errors(settings), *_warnings(settings))


def _errors(settings: ExportSettings) -> Iterator[Problem]:
    if settings.hub_token is not None and settings.hub_token_file is not None:
        message = "--hub-token and --hub-token-file cannot be given together."
        hint = "Keep --hub-token-file; the other one shows the token to everybody on this machine."
        yield Problem("INPUT_VALIDATION_FAILED", message, where="--hub-token", hint=hint)
    if settings.format is ExportFormat.OLLAMA_ADAPTER and settings.base_model is None:
        message = "--format ollama-adapter needs the base in Ollama."
        hint = "Name it: --base-model llama3.2, or the base's GGUF file."
        yield Problem("INPUT_VALIDATION_FAILED", message, where="--base-model", hint=hint)
    if settings.push is not None and settings.format is ExportFormat.OLLAMA_ADAPTER:
        message = "--push has nothing to push: --format ollama-adapter hands the adapter to Ollama."
        yield Problem("INPUT_VALIDATION_FAILED", message, where="--push", hint="Use --format lora, merged or gguf.")


def _warnings(settings: ExportSettings) -> Iterator[Problem]:
    asked = settings.format
    adapter, gguf = ExportFormat.OLLAMA_ADAPTER, ExportFormat.GGUF
    idle = (
        ("--ollama", settings.ollama and asked is not gguf, f"with --format {asked.value}, only with gguf"),
        ("--ollama-name", settings.ollama_name and not (settings.ollama or asked is adapter), "without --ollama"),
        ("--base-model", settings.base_model and asked is not adapter, f"with --format {asked.value}"),
        ("--adapter-tag", settings.adapter_tag and asked is not adapter, f"with --format {asked.value}"),
        ("--adapter-tag", settings.adapter_tag and settings.ollama_name and asked is adapter, "beside --ollama-name"),
        ("--hub-token", settings.hub_token and settings.push is None, "without --push"),
        ("--hub-token-file", settings.hub_token_file and settings.push is None, "without --push"),
        ("--base", settings.base and asked is ExportFormat.LORA, "with --format lora"),
    )
    for flag, is_idle, beside in idle:
        if is_idle:
            yield warning("CONFIG_INVALID_SETTING", f"{flag} has no effect {beside}.", where=flag)


def safe_name(text: str) -> str:
    """A file name out of any text: ASCII letters, digits, ``._-``, at most 80, not hidden, no device of Windows.

    Idempotent; "model" when nothing is left.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = _UNSAFE.sub("-", plain).strip("-._")[:_LONGEST_NAME].strip("-._")
    return f"model-{name}"[:_LONGEST_NAME] if _RESERVED.fullmatch(name) else name or "model"


def export_card(format: ExportFormat, adapter: AdapterFacts | None, *, name: str) -> str:
    """A short card for what has none of a run: what it is, of which base, how it was made and is used."""
    of = adapter.base_name if adapter else None
    kind = {ExportFormat.LORA: "LoRA adapter"}.get(
        format, "Model with a LoRA adapter merged in" if adapter else "Model"
    )
    auto = "AutoPeftModelForCausalLM" if format is ExportFormat.LORA else "AutoModelForCausalLM"
    package = "peft" if format is ExportFormat.LORA else "transformers"
    # The Hub takes only names of its own models as base_model, and a directory is nobody else's business.
    on_hub = of is not None and is_on_hub(of)
    of = without_directory(of) if of is not None else None
    lines = ["---", *([f"base_model: {of}"] if on_hub else []), f"library_name: {package}"]
    lines += ["pipeline_tag: text-generation", "tags:", "- backprop", *(["- lora"] if adapter else []), "---", ""]
    lines += [f"# {name}", "", f"{kind}{f', base {of}' if of else ''}. Written by `backprop export`.", ""]
    if adapter:
        shape = f"Rank {adapter.rank}, alpha {adapter.alpha:g}, {len(adapter.modules)} modules"
        lines += [
            f"{shape}{', rank-stabilized' if adapter.use_rslora else ''}{', DoRA' if adapter.use_dora else ''}.",
            "",
        ]
    if format in (ExportFormat.LORA, ExportFormat.MERGED):
        lines += ["```python", f"from {package} import {auto}", "", f'model = {auto}.from_pretrained("path/to/this")']
        lines += ["```", ""]
    return "\n".join(lines)
