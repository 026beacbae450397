"""Tokens, kinds, scores and special tokens out of a tokenizer.json."""

from __future__ import annotations

from typing import Any

import pytest

from backprop.plan.export.gguf.metadata import find
from backprop.plan.export.gguf.vocabulary import TokenizerSource, adds_space, vocabulary_entries

BYTE_LEVEL: dict[str, Any] = {
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split"}, {"type": "ByteLevel"}]},
    "added_tokens": [
        {"id": 3, "content": "<|end|>", "special": False},
        {"id": 4, "content": "word\u2581s", "special": False},
        {"id": 5, "content": "<s>", "special": True},
    ],
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [5], "tokens": ["<s>"]}},
    },
}
SENTENCE_PIECE: dict[str, Any] = {
    "model": {
        "type": "BPE",
        "byte_fallback": True,
        "unk_token": "<unk>",
        "vocab": {"<unk>": 0, "<0x0A>": 1, "\u2581": 2, "a": 3, "b": 4, "ab": 5, "\u2581ab": 6},
        "merges": ["a b", "\u2581 ab"],
    },
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend"}, {"type": "Replace"}]},
    "added_tokens": [{"id": 0, "content": "<unk>", "special": True}],
}


def source(definition: dict[str, Any], **changes: Any) -> TokenizerSource:
    given = {"special_tokens": {"bos_token": "<s>", "eos_token": "<|end|>"}, "pretokenizer": "gpt-2", **changes}
    return TokenizerSource(definition=definition, chat_template="T", **given)


def test_a_padded_embedding_gets_unused_tokens() -> None:
    entries = vocabulary_entries(source(BYTE_LEVEL), num_rows=8)
    assert find(entries, "tokenizer.ggml.tokens") == ("a", "b", "ab", "<|end|>", "word s", "<s>", "[PAD6]", "[PAD7]")
    assert find(entries, "tokenizer.ggml.token_type") == (1, 1, 1, 3, 4, 3, 5, 5)


def test_merges_and_template_are_written() -> None:
    entries = vocabulary_entries(source(BYTE_LEVEL), num_rows=6)
    assert find(entries, "tokenizer.ggml.merges") == ("a b",)
    assert find(entries, "tokenizer.chat_template") == "T"
    assert find(entries, "tokenizer.ggml.eos_token_id") == 3


def test_whether_a_begin_token_is_added_is_what_the_tokenizer_does() -> None:
    assert find(vocabulary_entries(source(BYTE_LEVEL), num_rows=6), "tokenizer.ggml.add_bos_token") is True
    plain = {**BYTE_LEVEL, "post_processor": None}
    assert find(vocabulary_entries(source(plain), num_rows=6), "tokenizer.ggml.add_bos_token") is False


def test_the_configuration_has_the_last_word_on_the_begin_token() -> None:
    entries = vocabulary_entries(source(BYTE_LEVEL, adds={"add_bos_token": False}), num_rows=6)
    assert find(entries, "tokenizer.ggml.add_bos_token") is False


@pytest.mark.parametrize("declared", [3, [3, 1]])
def test_the_model_names_the_end_token_where_the_tokenizer_does_not(declared: int | list[int]) -> None:
    silent = source(BYTE_LEVEL, special_tokens={})
    entries = vocabulary_entries(silent, num_rows=6, config={"eos_token_id": declared})
    assert find(entries, "tokenizer.ggml.eos_token_id") == 3
    own = vocabulary_entries(source(BYTE_LEVEL), num_rows=6, config={"eos_token_id": 1})
    assert find(own, "tokenizer.ggml.eos_token_id") == 3


def test_a_tokenizer_without_any_end_token_is_refused() -> None:
    with pytest.raises(ValueError, match="ends a text"):
        vocabulary_entries(source(BYTE_LEVEL, special_tokens={}), num_rows=6, config={"eos_token_id": None})


def test_sentence_piece_scores_follow_the_order_of_merges() -> None:
    entries = vocabulary_entries(source(SENTENCE_PIECE, pretokenizer=None), num_rows=7)
    assert find(entries, "tokenizer.ggml.model") == "llama"
    scores = find(entries, "tokenizer.ggml.scores")
    assert isinstance(scores, tuple)
    assert scores[5] == 0
    assert scores[6] == -1
    assert float(scores[3]) < float(scores[6])
    kinds = find(entries, "tokenizer.ggml.token_type")
    assert isinstance(kinds, tuple)
    assert kinds[:2] == (2, 6)


def test_the_space_before_the_first_word_is_the_tokenizers_own() -> None:
    assert adds_space(SENTENCE_PIECE)
    assert not adds_space({**SENTENCE_PIECE, "normalizer": {"type": "Replace"}})
    assert not adds_space({"pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "never"}})


def test_more_tokens_than_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="the id 5, but its embedding only 5 rows"):
        vocabulary_entries(source(BYTE_LEVEL), num_rows=5)


def test_a_way_to_cut_text_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="no name for"):
        vocabulary_entries(source(BYTE_LEVEL, pretokenizer=None), num_rows=6)


@pytest.mark.parametrize("definition", [BYTE_LEVEL, SENTENCE_PIECE])
def test_a_tokenizer_that_rewrites_text_is_refused(definition: dict[str, Any]) -> None:
    lower = {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}
    with pytest.raises(ValueError, match="no name for"):
        vocabulary_entries(source({**definition, "normalizer": lower}), num_rows=7)
    vocabulary_entries(source({**definition, "normalizer": {"type": "NFC"}}), num_rows=7)


def test_other_kinds_of_tokenizers_are_refused() -> None:
    with pytest.raises(ValueError, match="neither byte-level BPE"):
        vocabulary_entries(source({**BYTE_LEVEL, "model": {"type": "Unigram"}}), num_rows=6)
