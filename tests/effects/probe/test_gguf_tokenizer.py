"""The way a tokenizer cuts text is told by cutting."""

from __future__ import annotations

import itertools

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from backprop.effects.probe.gguf_tokenizer import _known_cuts, gguf_tokenizer_of, pretokenizer_of
from backprop.plan.export.gguf.pretokenizers import PRETOKENIZERS

CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def name_of(*parts: pre_tokenizers.PreTokenizer, ignores_merges: bool = False, cleans: bool = False) -> str | None:
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignores_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(parts))
    return pretokenizer_of(tokenizer, {"clean_up_tokenization_spaces": cleans})


def split(pattern: str, behavior: str = "isolated") -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(pattern), behavior)


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)


def test_digits_one_by_one_before_gpt2_are_smollm() -> None:
    digits = pre_tokenizers.Digits(individual_digits=True)
    assert name_of(digits, GPT2) == "smollm"
    assert name_of(digits, GPT2, cleans=True) == "refact"


def test_gpt2_alone_is_gpt2() -> None:
    assert name_of(GPT2) == "gpt-2"


def test_llama3_and_others_of_its_pattern_differ_in_their_merges() -> None:
    assert name_of(split(CL100K), BYTES, ignores_merges=True) == "llama-bpe"
    assert name_of(split(CL100K), BYTES) == "dbrx"


def test_another_spelling_of_a_pattern_is_the_same_way() -> None:
    assert name_of(split(CL100K.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?i:[sdmt]|ll|ve|re)")), BYTES) == "dbrx"


def test_qwen2_takes_digits_one_by_one() -> None:
    assert name_of(split(CL100K.replace("{1,3}", "")), BYTES) == "qwen2"


@pytest.mark.parametrize(
    "parts",
    [
        (pre_tokenizers.ByteLevel(add_prefix_space=True),),
        (pre_tokenizers.Whitespace(), BYTES),
        (split(r"\p{N}{1,3}"), split(CL100K), BYTES),
        (split(r"\p{N}{2}"), GPT2),
        (split(CL100K.replace(r"\p{L}+", r"[\p{L}\p{M}]+")), BYTES),
        (split(CL100K.replace(r"[\r\n]*", "")), BYTES),
    ],
)
def test_a_way_that_llama_cpp_does_not_have_has_no_name(parts: tuple[pre_tokenizers.PreTokenizer, ...]) -> None:
    assert name_of(*parts) is None


def test_the_probe_tells_every_two_ways_apart() -> None:
    cuts = _known_cuts()
    patterns = {way.name: way.patterns for way in PRETOKENIZERS}
    for one, other in itertools.combinations(cuts, 2):
        assert (cuts[one] == cuts[other]) == (patterns[one] == patterns[other]), (one, other)


def test_sentence_piece_is_told_by_its_fallback_to_bytes() -> None:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True))
    assert gguf_tokenizer_of(tokenizer, {}) == "SentencePiece"


def test_a_tokenizer_of_another_kind_has_no_name() -> None:
    assert gguf_tokenizer_of(Tokenizer(models.WordLevel()), {}) is None
