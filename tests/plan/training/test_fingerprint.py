from __future__ import annotations

import attrs

from backprop.plan.decision import Problem
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.dataset import DataFacts
from backprop.plan.facts.model import ModelFacts, ModelSource
from backprop.plan.training.fingerprint import data_fingerprint, model_fingerprint
from tests.plan.training.worlds import NOTHING, TOKENIZER, dataset, tokens, world


def the_model() -> ModelFacts:
    model = world().model
    assert isinstance(model, ModelFacts)
    return model


MODEL = the_model()


def test_a_model_that_moves_keeps_its_name_and_one_that_changes_does_not() -> None:
    here = model_fingerprint(MODEL, TOKENIZER)
    assert model_fingerprint(attrs.evolve(MODEL, name="/elsewhere", directory="/elsewhere"), TOKENIZER) == here
    assert model_fingerprint(attrs.evolve(MODEL, weights_bytes=1), TOKENIZER) != here
    assert model_fingerprint(MODEL, attrs.evolve(TOKENIZER, chat_template="{{ other }}")) != here


def test_a_hub_model_is_the_same_before_and_after_its_files_are_fetched() -> None:
    absent = Absent(Problem("HUB_UNREACHABLE", "offline"))
    before = attrs.evolve(MODEL, source=ModelSource.HUB, commit="c" * 40, weights_bytes=None, files_absent=absent)
    after = attrs.evolve(before, source=ModelSource.HUB_CACHE, weights_bytes=7, files_absent=None)
    assert model_fingerprint(before, TOKENIZER) == model_fingerprint(after, TOKENIZER)
    assert model_fingerprint(attrs.evolve(after, commit="d" * 40), TOKENIZER) != model_fingerprint(after, TOKENIZER)


def test_a_template_is_its_text_not_the_path_of_its_file() -> None:
    named = attrs.evolve(TOKENIZER, chat_template_name="/tmp/mine.jinja")
    assert model_fingerprint(MODEL, named) == model_fingerprint(MODEL, TOKENIZER)


def test_data_that_moves_keeps_its_name_though_its_examples_name_other_files() -> None:
    def data(example: str) -> DataFacts:
        return DataFacts(dataset(tokens(truncated=attrs.evolve(NOTHING, rows=2, example=example))))

    assert data_fingerprint(data("a.jsonl:1")) == data_fingerprint(data("b.jsonl:1"))
    assert data_fingerprint(data("a.jsonl:1")) != data_fingerprint(DataFacts(dataset()))
