"""A training says whether its result can be exported to GGUF."""

from __future__ import annotations

import attrs

from backprop.plan.export.gguf.preflight import judge_gguf
from backprop.plan.facts.model import ModelFacts
from tests.plan.training.worlds import TOKENIZER, world


def known() -> ModelFacts:
    model = world().model
    assert isinstance(model, ModelFacts)
    return model


def test_a_family_that_is_known_can_be_exported() -> None:
    assert judge_gguf(known(), TOKENIZER).value


def test_the_tokenizers_name_is_in_the_reason() -> None:
    assert "smollm" in judge_gguf(known(), attrs.evolve(TOKENIZER, gguf_tokenizer="smollm")).why


def test_an_unknown_family_cannot() -> None:
    judged = judge_gguf(attrs.evolve(known(), model_type="mamba"), TOKENIZER)
    assert not judged.value
    assert "--llama-cpp-path" in judged.why


def test_a_tokenizer_that_llama_cpp_has_no_like_of_cannot() -> None:
    assert not judge_gguf(known(), attrs.evolve(TOKENIZER, gguf_tokenizer=None)).value
