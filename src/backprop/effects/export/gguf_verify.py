"""Proof of a GGUF file by llama.cpp itself: loaded there, and asked what comes next."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import psutil

from backprop.effects.export.llama_server import LlamaCpp, is_available, loaded
from backprop.effects.probe.tokenizer import ChatTokenizer
from backprop.plan.data.conversation import RowError
from backprop.plan.decision import Problem, warning
from backprop.plan.errors import BackpropError
from backprop.plan.export.gguf.agreement import PROMPTS, Agreement, judge
from backprop.plan.export.merge import MergePlan
from backprop.plan.export.plan import Check, ExportPlan
from backprop.plan.quantity import gib
from backprop.plan.redaction import redact

Logits = npt.NDArray[np.float64]
_CODE = "RUNTIME_GGUF_EXPORT_FAILED"
_REFERENCE = ("torch", "transformers", "peft")


@attrs.frozen
class _Prompt:
    """A conversation as the training would write it, and as its tokenizer cuts it."""

    messages: tuple[Mapping[str, str], ...]
    text: str
    ids: tuple[int, ...]


def compare(
    plan: ExportPlan, path: Path, tokenizer: ChatTokenizer | None
) -> tuple[tuple[Check, ...], tuple[Problem, ...]]:
    """What llama.cpp makes of the training template's prompts, against the tokenizer and the model themselves.

    Raises RUNTIME_GGUF_EXPORT_FAILED when llama.cpp does not load the file, or an exact type computes something else.
    """
    if not is_available():
        return (Check("in llama.cpp", "not looked at: pip install xllamacpp"),), ()
    prompts = _prompts(tokenizer) if tokenizer else ()
    checks: list[Check] = []
    problems: list[Problem] = []
    expected = _reference_logits(plan, [p.ids for p in prompts])
    with loaded(path) as server:
        if tokenizer is not None:
            _compare_text(server, tokenizer, prompts, checks, problems)
        if isinstance(expected, str):
            server.tokenize("a")
            checks.append(Check("next tokens in llama.cpp", f"not compared: {expected}"))
        else:
            found = [_logits(server, p.ids, len(e)) for p, e in zip(prompts, expected, strict=True)]
            agreement = Agreement(
                cosines=tuple(_cosine(f, e) for f, e in zip(found, expected, strict=True)),
                same_top=sum(int(f.argmax() == e.argmax()) for f, e in zip(found, expected, strict=True)),
            )
            checks.append(Check("next tokens in llama.cpp", agreement.sentence))
            if problem := judge(agreement, plan.quantization):
                problems.append(problem)
    failures = [p for p in problems if p.severity.value == "error"]
    if failures:
        raise BackpropError(*failures)
    return tuple(checks), tuple(problems)


def _prompts(tokenizer: ChatTokenizer) -> tuple[_Prompt, ...]:
    prompts = []
    for turns in PROMPTS:
        given = tuple({"role": role, "content": content} for role, content in turns)
        try:
            text = tokenizer.render(given, add_generation_prompt=True) if tokenizer.has_template else turns[-1][1]
        except RowError:  # some templates take no system message
            continue
        prompts.append(_Prompt(given, text, tuple(tokenizer.encode(text).ids)))
    return tuple(prompts)


def _compare_text(
    server: LlamaCpp,
    tokenizer: ChatTokenizer,
    prompts: Sequence[_Prompt],
    checks: list[Check],
    problems: list[Problem],
) -> None:
    same_ids = sum(server.tokenize(prompt.text) == prompt.ids for prompt in prompts)
    checks.append(Check("tokens of prompts", f"{same_ids} of {len(prompts)} as the tokenizer cuts them"))
    if same_ids < len(prompts):
        problems.append(_differs("llama.cpp cuts prompts into other tokens than the model was trained on."))
    if tokenizer.has_template:
        same_text = sum(_renders(server, prompt) for prompt in prompts)
        checks.append(Check("chat template", f"{same_text} of {len(prompts)} prompts as in training"))
        if same_text < len(prompts):
            problems.append(_differs("llama.cpp writes conversations otherwise than the training template."))


def _renders(server: LlamaCpp, prompt: _Prompt) -> bool:
    """Whether the file's template writes the prompt in llama.cpp, which knows less of Jinja and may refuse it."""
    try:
        return server.render(prompt.messages) == prompt.text
    except OSError:
        return False


def _differs(message: str) -> Problem:
    return warning(_CODE, message, hint="Compare a prompt with llama.cpp's /apply-template and /tokenize.")


def _logits(server: LlamaCpp, ids: Sequence[int], num_tokens: int) -> Logits:
    found = server.log_probabilities(ids, num_tokens=num_tokens)
    return np.array([found.get(i, -math.inf) for i in range(num_tokens)])


def _cosine(found: Logits, expected: Logits) -> float:
    """Of what differs between tokens; a common offset of logits means nothing."""
    seen = np.isfinite(found)
    x, y = found[seen] - found[seen].mean(), expected[seen] - expected[seen].mean()
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


def _reference_logits(plan: ExportPlan, prompts: Sequence[Sequence[int]]) -> list[Logits] | str:
    """By transformers and PEFT from the sources, in float32; or why not."""
    merge = plan.merge
    if merge is None or not prompts:
        return "there is nothing to compare with"
    missing = [name for name in _REFERENCE if importlib.util.find_spec(name) is None]
    if missing:
        return f"{missing[0]} is not installed"
    needed = 5 * sum(math.prod(entry.shape) for entry in merge.entries)
    free = psutil.virtual_memory().available
    if needed > free:
        return f"the model itself would need {gib(needed)} of memory, and {gib(free)} are free"
    try:
        return _torch_logits(merge, prompts)
    except Exception as error:  # what they raise is theirs to say; the file is none the worse for it
        return f"transformers and PEFT cannot compute it: {redact(str(error).strip().partition(chr(10))[0])}"


def _torch_logits(merge: MergePlan, prompts: Sequence[Sequence[int]]) -> list[Logits]:
    reference: Any = importlib.import_module("backprop.effects.export.torch_reference")
    adapter = merge.adapter.directory if merge.adapter else None
    found: list[Logits] = reference.next_token_logits(merge.base.directory, adapter, prompts)
    return found
