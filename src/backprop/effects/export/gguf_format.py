"""``--format gguf``: what is judged before any work, and the way that the file is then made."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs

from backprop.effects.export.llama_cpp import LlamaCppTools, convert, find_tools, quantize_file
from backprop.effects.export.merged import files_of, throttled, tokenizer_directory, write_merged
from backprop.effects.export.quantizers import Quantizer, find_quantizer
from backprop.effects.export.staging import check_output, kept_beside, staged
from backprop.effects.probe.gguf_tokenizer import observe_gguf_tokenizer
from backprop.effects.probe.tokenizer import ChatTokenizer, observe_tokenizer
from backprop.plan.decision import Problem, Refused
from backprop.plan.events import Event, Stage
from backprop.plan.export.gguf.mix import needs_k_quants
from backprop.plan.export.gguf.plan import GgufPlan, Stored, check_family, plan_gguf
from backprop.plan.export.plan import Check, Exported, ExportPlan
from backprop.plan.facts.absent import Absent
from backprop.plan.settings.verbs.export import Quantization

_WRITER = "backprop.effects.export.gguf"
_VERIFIER = "backprop.effects.export.gguf_verify"
_READER = "backprop.effects.export.gguf_read_back"
Emit = Callable[[Event], None]


@attrs.frozen
class Prepared:
    """How a file will be made."""

    quantizer: Quantizer
    tools: LlamaCppTools
    tokenizer: ChatTokenizer | None
    gguf: GgufPlan | None
    """None when llama.cpp's own converter does it."""
    num_bytes: int
    """That stand on the disk at once."""
    through: Quantization | None = None
    """What is written first, for llama-quantize to make the quantization of; None when no such step is needed."""


def check_gguf(plan: ExportPlan) -> tuple[Problem, ...]:
    """All that stands in the way of the file, and what is worth a warning."""
    prepared = prepare(plan)
    if isinstance(prepared, Refused):
        return prepared.problems
    room = check_output(plan, num_bytes=prepared.num_bytes)
    return (*(prepared.gguf.warnings if prepared.gguf else ()), *room)


def prepare(plan: ExportPlan) -> Prepared | Refused:
    """Decide by the model's family and what is installed; no tensor is read."""
    merge = plan.merge
    assert merge is not None, "a GGUF export is planned from tensors"
    quantizer, tools = find_quantizer(plan.llama_cpp_path), find_tools(plan.llama_cpp_path)
    tokenizer = observe_tokenizer(tokenizer_directory(plan), chat_template=None)
    unknown = check_family(str(merge.base.config.get("model_type")))
    if unknown is not None:
        chat = None if isinstance(tokenizer, Absent) else tokenizer
        return Refused((unknown,)) if tools.converter is None else _by_converter(plan, quantizer, tools, chat)
    if isinstance(tokenizer, Absent):
        return Refused((tokenizer.problem,))
    if importlib.util.find_spec("gguf") is None:
        message = "GGUF files are written with the package gguf, which is not installed."
        return Refused((Problem("DEP_PACKAGE_MISSING", message, hint="pip install gguf"),))
    by_program = needs_k_quants(plan.quantization) and not quantizer.has_k_quants
    if by_program and (missing := _missing_quantizer(plan.quantization, tools)):
        return Refused(missing)
    planned = _plan_file(plan, tokenizer, plan.quantization, quantizer)
    if isinstance(planned, Refused):
        return planned
    if not by_program:
        return Prepared(quantizer, tools, tokenizer, planned, planned.data_bytes)
    first = _plan_file(plan, tokenizer, Quantization.F16, quantizer)
    assert not isinstance(first, Refused), "what is refused is refused for every type"
    return Prepared(quantizer, tools, tokenizer, first, first.data_bytes + planned.data_bytes, Quantization.F16)


def _by_converter(
    plan: ExportPlan, quantizer: Quantizer, tools: LlamaCppTools, tokenizer: ChatTokenizer | None
) -> Prepared | Refused:
    """llama.cpp's converter reads a merged model while it writes a file in 16 bits, which may be quantized after."""
    missing = _missing_quantizer(plan.quantization, tools) if plan.quantization is not Quantization.F16 else ()
    if missing:
        return Refused(missing)
    assert plan.merge is not None
    num_bytes = plan.source_bytes + 2 * sum(entry.source.size for entry in plan.merge.entries)
    return Prepared(quantizer, tools, tokenizer, None, num_bytes, Quantization.F16)


def _plan_file(
    plan: ExportPlan, tokenizer: ChatTokenizer, quantization: Quantization, quantizer: Quantizer
) -> GgufPlan | Refused:
    merge = plan.merge
    assert merge is not None
    source = observe_gguf_tokenizer(tokenizer_directory(plan), chat_template=tokenizer.facts.chat_template)
    if isinstance(source, Absent):
        return Refused((source.problem,))
    return plan_gguf(
        merge.base.config,
        [Stored(entry.name, entry.shape) for entry in merge.entries],
        source,
        name=merge.base.name.rstrip("/").rsplit("/", 1)[-1],
        is_tied=merge.is_tied,
        quantization=quantization,
        has_k_quants=quantizer.has_k_quants,
    )


def _missing_quantizer(quantization: Quantization, tools: LlamaCppTools) -> tuple[Problem, ...]:
    if tools.quantizer is not None:
        return ()
    message = f"{quantization.value} is made by ggml's own routine, and neither it nor llama-quantize is here."
    hint = "pip install libggml-python, or export with --quantization q8_0."
    return (Problem("DEP_PACKAGE_MISSING", message, where="--quantization", hint=hint),)


def write_gguf_format(plan: ExportPlan, out: Path, *, emit: Emit) -> Exported:
    """Write the file into the directory ``out``, prove it, and move it into place; on failure nothing is left.

    Raises RUNTIME_GGUF_EXPORT_FAILED when it is not what was planned or computes something else.
    """
    prepared = prepare(plan)
    assert not isinstance(prepared, Refused), "what was accepted a moment ago"
    kept = {file.name for file in kept_beside(plan, out)}
    for name in sorted(kept):
        emit(Stage(f"keeping {name}"))
    with staged(plan, out) as directory:
        target = directory / plan.gguf_name
        emit(Stage("merging and quantizing" if plan.adapter else "quantizing"))
        if prepared.gguf is None:
            _convert(plan, prepared, target, emit)
        else:
            _write(plan, prepared, prepared.gguf, target, emit)
        checks, warnings = _prove(plan, prepared, target, emit)
    files = tuple(file for file in files_of(out) if Path(file.path).name not in kept)
    return Exported(files, checks, warnings, untied=bool(plan.merge and plan.merge.is_untied))


def _write(plan: ExportPlan, prepared: Prepared, planned: GgufPlan, target: Path, emit: Emit) -> None:
    first = target if prepared.through is None else target.with_suffix(".f16")
    write: Callable[..., None] = import_module(_WRITER).write_gguf
    threads = os.cpu_count() or 1
    write(planned, plan.merge, first, quantizer=prepared.quantizer, num_threads=threads, progress=throttled(emit))
    if prepared.through is not None:
        quantize_file(prepared.tools, first, target, plan.quantization)
        first.unlink()


def _convert(plan: ExportPlan, prepared: Prepared, target: Path, emit: Emit) -> None:
    merged = target.with_suffix(".merged")
    write_merged(attrs.evolve(plan, model_card=None, verify=False), merged, emit=emit)
    convert(prepared.tools, merged, target, plan.quantization)


def _prove(
    plan: ExportPlan, prepared: Prepared, target: Path, emit: Emit
) -> tuple[tuple[Check, ...], tuple[Problem, ...]]:
    emit(Stage("verifying"))
    reader: Any = import_module(_READER)
    checks = []
    if prepared.gguf is not None and prepared.through is None:
        checks.append(reader.check_header(prepared.gguf, target))
    if not plan.verify:
        return tuple(checks), ()
    if prepared.gguf is not None:
        checks.append(reader.check_values(prepared.gguf, plan.merge, target))
    verifier: Any = import_module(_VERIFIER)
    compared, warnings = verifier.compare(plan, target, prepared.tokenizer)
    return (*checks, *compared), warnings
