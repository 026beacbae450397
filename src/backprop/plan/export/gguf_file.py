"""What a GGUF file says of itself, and whether an adapter in one fits a base in another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from backprop.plan.decision import Problem

LORA_A, LORA_B = ".lora_a", ".lora_b"
_NUM_SHOWN = 3


@attrs.frozen
class GgufTensor:
    """A tensor's place in a GGUF file. ``shape`` is in GGUF's order, the length of a row first."""

    shape: tuple[int, ...]
    type_number: int
    offset: int
    """From the beginning of the data."""


@attrs.frozen
class GgufFile:
    """The header of a GGUF file: its scalar metadata, the special tokens of its vocabulary, and its tensors."""

    path: str
    metadata: Mapping[str, Any]
    special_tokens: tuple[str, ...]
    tokens_by_id: Mapping[int, str]
    """Of the special tokens, and those that the metadata names by number."""
    tensors: Mapping[str, GgufTensor]

    @property
    def architecture(self) -> str:
        """``llama``, ``qwen2``, …; empty when the file does not say."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def is_adapter(self) -> bool:
        """Whether it is an adapter and not a model."""
        return self.metadata.get("general.type") == "adapter"

    @property
    def chat_template(self) -> str | None:
        """Jinja source."""
        template = self.metadata.get("tokenizer.chat_template")
        return template if isinstance(template, str) and template else None

    @property
    def bos(self) -> str | None:
        """The first token of a text."""
        return self._token("tokenizer.ggml.bos_token_id")

    @property
    def eos(self) -> str | None:
        """The token that ends an answer."""
        return self._token("tokenizer.ggml.eos_token_id")

    @property
    def adds_bos(self) -> bool:
        """Whether the tokenizer puts the first token before a text by itself; llama.cpp's defaults by kind."""
        default = self.metadata.get("tokenizer.ggml.model") == "llama"
        return bool(self.metadata.get("tokenizer.ggml.add_bos_token", default))

    def _token(self, key: str) -> str | None:
        number = self.metadata.get(key)
        return self.tokens_by_id.get(number) if isinstance(number, int) else None


def check_model(file: GgufFile) -> tuple[Problem, ...]:
    """What keeps ``file`` from being a model that Ollama can run."""
    if file.is_adapter:
        return (_unfit(file, "it holds an adapter, not a model", "Register it with --format ollama-adapter."),)
    if not file.architecture or not file.tensors:
        return (_unfit(file, "it names no architecture or holds no tensors"),)
    return ()


def check_adapter(adapter: GgufFile) -> tuple[Problem, ...]:
    """What keeps ``adapter`` from being a LoRA adapter, whatever its base."""
    if not adapter.is_adapter:
        return (_unfit(adapter, "it holds a model, not an adapter"),)
    kind = adapter.metadata.get("adapter.type")
    if kind != "lora":
        return (_unfit(adapter, f"its adapter.type is {kind!r}, and only lora can be applied"),)
    wrong = tuple(_unpaired(adapter))
    if wrong or not adapter.tensors:
        return (_unfit(adapter, _listed(wrong) if wrong else "it holds no tensors"),)
    return ()


def check_adapter_fits(adapter: GgufFile, base: GgufFile) -> tuple[Problem, ...]:
    """Why ``adapter`` was not trained on ``base``; Ollama itself does not look. Empty when it fits."""
    problems = (*check_adapter(adapter), *check_model(base))
    if problems:
        return problems
    if adapter.architecture != base.architecture:
        why = f"the adapter is one of a {adapter.architecture} model, and {base.path} is a {base.architecture} model"
        return (_unfit(adapter, why, _OTHER_BASE),)
    wrong = tuple(_misplaced(adapter, base))
    return (_unfit(adapter, f"it does not fit {base.path}: {_listed(wrong)}", _OTHER_BASE),) if wrong else ()


_OTHER_BASE = "Give the base that the adapter was trained on with --base-model."


def _unpaired(adapter: GgufFile) -> Iterator[str]:
    for name, tensor in adapter.tensors.items():
        stem, suffix = name[: -len(LORA_A)], name[-len(LORA_A) :]
        other = {LORA_A: LORA_B, LORA_B: LORA_A}.get(suffix)
        if other is None:
            yield f"{name} is no part of a LoRA pair"
        elif stem + other not in adapter.tensors:
            yield f"{name} stands alone"
        elif suffix == LORA_A and tensor.shape[-1:] != adapter.tensors[stem + other].shape[:1]:
            yield f"{name} has another rank than its pair"


def _misplaced(adapter: GgufFile, base: GgufFile) -> Iterator[str]:
    for name, tensor in adapter.tensors.items():
        if not name.endswith(LORA_A):
            continue
        stem = name.removesuffix(LORA_A)
        target = base.tensors.get(stem)
        if target is None:
            yield f"the base has no {stem}"
            continue
        # Row lengths of A and numbers of rows of B: (in, r) and (r, out) on (in, out).
        shape = (tensor.shape[0], adapter.tensors[stem + LORA_B].shape[-1])
        if shape != target.shape:
            yield f"{stem} is {_shape(target.shape)} in the base and {_shape(shape)} in the adapter"


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(str(length) for length in shape)


def _listed(found: tuple[str, ...]) -> str:
    more = len(found) - _NUM_SHOWN
    return "; ".join(found[:_NUM_SHOWN]) + (f"; and {more:,} more" if more > 0 else "")


def _unfit(file: GgufFile, why: str, hint: str = "") -> Problem:
    return Problem("INPUT_VALIDATION_FAILED", f"{file.path} cannot be used: {why}.", where=file.path, hint=hint)
