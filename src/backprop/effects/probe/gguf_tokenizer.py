"""A tokenizer's files as a GGUF file needs them, and which of llama.cpp's ways to cut text is its own."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, pre_tokenizers

from backprop.effects.files.json_file import read_object
from backprop.plan.decision import Problem
from backprop.plan.export.gguf.pretokenizers import PRETOKENIZERS, PROBE, choose
from backprop.plan.export.gguf.vocabulary import (
    TokenizerSource,
    VocabularyKind,
    adds_prefix_space,
    changes_text,
    kind_of_vocabulary,
)
from backprop.plan.facts.absent import Absent

_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "mask_token")
_ADDS = ("add_bos_token", "add_eos_token")


def observe_gguf_tokenizer(directory: str | Path, *, chat_template: str | None) -> TokenizerSource | Absent:
    """What the tokenizer in ``directory`` puts into a GGUF file; Absent carries DEP_MODEL_LOAD_FAILED.

    ``chat_template`` is the training's, as Jinja.
    """
    place = Path(directory)
    try:
        definition = read_object(place / "tokenizer.json")
        config = _optional(place / "tokenizer_config.json")
        declared = {**_optional(place / "special_tokens_map.json"), **_optional_special(config)}
        tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
    except OSError as error:
        return _absent(f"{error.filename} cannot be read: {error.strerror}")
    except Exception as damage:  # tokenizers raises bare Exception for every defect of the file
        return _absent(f"the tokenizer in {place} cannot be read: {damage}")
    tokens = {key: text for key in _NAMED if (text := _text(declared.get(key)))}
    return TokenizerSource(
        definition=definition,
        special_tokens=tokens,
        chat_template=chat_template,
        pretokenizer=pretokenizer_of(tokenizer, config),
        adds={key: config[key] for key in _ADDS if isinstance(config.get(key), bool)},
    )


def gguf_tokenizer_of(tokenizer: Tokenizer, config: Mapping[str, Any]) -> str | None:
    """What llama.cpp calls a tokenizer like this one: its way to cut text, or ``SentencePiece``; None for none."""
    definition = _without_words(tokenizer)
    if kind_of_vocabulary(definition) is VocabularyKind.SENTENCE_PIECE:
        return None if changes_text(definition) else "SentencePiece"
    return pretokenizer_of(tokenizer, config)


def _without_words(tokenizer: Tokenizer) -> Mapping[str, Any]:
    """As much of tokenizer.json as says how text is cut; its megabytes of words take long to parse again."""
    model, cutter, normalizer = tokenizer.model, tokenizer.pre_tokenizer, tokenizer.normalizer
    flags = {flag: getattr(model, flag, None) for flag in ("byte_fallback", "ignore_merges")}
    return {
        "model": {"type": type(model).__name__, **flags},
        "pre_tokenizer": json.loads(cutter.__getstate__()) if cutter is not None else None,
        "normalizer": json.loads(normalizer.__getstate__()) if normalizer is not None else None,
    }


def pretokenizer_of(tokenizer: Tokenizer, config: Mapping[str, Any]) -> str | None:
    """llama.cpp's name for the way a byte-level tokenizer cuts text; None when it has none that cuts alike."""
    definition = _without_words(tokenizer)
    if kind_of_vocabulary(definition) is not VocabularyKind.BYTE_LEVEL:
        return None
    if adds_prefix_space(definition) or changes_text(definition):
        return None
    own = _cuts(tokenizer.pre_tokenizer)
    alike = tuple(name for name, cuts in _known_cuts().items() if cuts == own)
    chosen = choose(
        alike,
        ignores_merges=definition["model"].get("ignore_merges") is True,
        cleans_spaces=config.get("clean_up_tokenization_spaces") is True,
    )
    return None if chosen is None else chosen.name


Cuts = tuple[tuple[int, int], ...]


@functools.cache
def _known_cuts() -> Mapping[str, Cuts]:
    return {
        way.name: _cuts(pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in way.patterns]))
        for way in PRETOKENIZERS
    }


def _cuts(cutter: pre_tokenizers.PreTokenizer) -> Cuts:
    """Where the probe text is cut, in characters."""
    return tuple(span for _, span in cutter.pre_tokenize_str(PROBE))


def _optional(path: Path) -> Mapping[str, Any]:
    return read_object(path) if path.is_file() else {}


def _optional_special(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: config[key] for key in _NAMED if config.get(key) is not None}


def _text(value: object) -> str | None:
    content = value.get("content") if isinstance(value, Mapping) else value
    return content if isinstance(content, str) else None


def _absent(message: str) -> Absent:
    return Absent(Problem("DEP_MODEL_LOAD_FAILED", f"{message[0].upper()}{message[1:]}.", where="PATH"))
