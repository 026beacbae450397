"""Judged answers as they are stored: one prompt for both of a pair, none of them cut, ratings beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from backprop.effects.files.token_store import RowSinks, TokenStore
from backprop.effects.probe.dataset import mask_examples, observe_data
from backprop.plan.data.answers import align_prompts
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.dataset import DataFacts, Ratings
from backprop.plan.memory.objective import Objective
from backprop.plan.settings.data import DataSettings
from tests.effects.probe.smollm2 import chat_tokenizer
from tests.effects.probe.test_dataset import file_of, tokens_of

TOKENIZER = chat_tokenizer("chatml")
QUESTION = {"role": "user", "content": "Which?"}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def observe(
    path: Path,
    method: Objective,
    rows: RowSinks | None = None,
    *,
    length: int = 512,
    tokenizer: Any = TOKENIZER,
    **given: Any,
) -> DataFacts | Absent:
    settings = DataSettings(dataset_name=str(path), **given)
    return observe_data(settings, max_seq_length=length, seed=1, tokenizer=tokenizer, method=method, rows=rows)


def facts_of(path: Path, method: Objective, rows: RowSinks | None = None, **given: Any) -> DataFacts:
    facts = observe(path, method, rows, **given)
    assert isinstance(facts, DataFacts), facts
    return facts


def stored(store: TokenStore, index: int) -> tuple[list[int], list[int]]:
    ids, mask = store.row(index)
    return list(ids), list(mask)


def learned(store: TokenStore, index: int) -> str:
    ids, mask = stored(store, index)
    return TOKENIZER.decode([id for id, flag in zip(ids, mask, strict=True) if flag])


PAIRS = [
    {"prompt": "Which?", "chosen": "This one.", "rejected": "That, I would say."},
    {"prompt": [QUESTION], "chosen": [said("This one.")], "rejected": [said("That, I would say.")]},
    {"chosen": [QUESTION, said("This one.")], "rejected": [QUESTION, said("That, I would say.")]},
]


@pytest.mark.parametrize("row", PAIRS)
def test_both_answers_of_a_pair_are_stored_after_the_same_prompt(row: Any, tmp_path: Path) -> None:
    rows = RowSinks()
    facts = facts_of(file_of(tmp_path, row, row), Objective.ORPO, rows)
    assert len(rows.train) == 4
    assert [rows.train.is_good(i) for i in range(4)] == [True, False, True, False]
    assert learned(rows.train, 0) == "This one.<|im_end|>"
    assert learned(rows.train, 1) == "That, I would say.<|im_end|>"
    (chosen, first), (rejected, second) = (stored(rows.train, i) for i in (0, 1))
    start = first.index(1)
    assert start == second.index(1)
    assert chosen[:start] == rejected[:start]
    tokens = tokens_of(facts.train)
    assert tokens.length_counts == ((max(len(chosen), len(rejected)), 2),)
    assert tokens.tokens == 2 * (len(chosen) + len(rejected))
    assert tokens.supervised_tokens == 2 * (sum(first) + sum(second))


def test_a_pair_that_is_too_long_is_left_out_with_both_answers(tmp_path: Path) -> None:
    long = {"prompt": "Which?", "chosen": "This one.", "rejected": "That " * 200}
    rows = RowSinks()
    facts = facts_of(file_of(tmp_path, PAIRS[0], long), Objective.SIMPO, rows, length=100)
    tokens = tokens_of(facts.train)
    assert len(rows.train) == 2
    assert tokens.sequences == 1
    assert (tokens.truncated.rows, tokens.without_target.rows) == (1, 0)


def test_a_prompt_that_an_answer_changes_as_tokens_is_cut_where_both_still_agree(tmp_path: Path) -> None:
    row = {"prompt": "The capi", "chosen": "tal is far.", "rejected": "bara is near."}
    rows = RowSinks()
    facts_of(file_of(tmp_path, row), Objective.ORPO, rows, tokenizer=attrs.evolve(TOKENIZER, template=None))
    (chosen, first), (rejected, second) = (stored(rows.train, i) for i in (0, 1))
    assert TOKENIZER.decode(chosen).startswith("The capital is far.")
    assert TOKENIZER.decode(chosen[:2]) == "The capital", "the end of the prompt is joined to the answer"
    start = first.index(1)
    assert start == second.index(1) == 1
    assert chosen[:start] == rejected[:start]
    assert learned(rows.train, 0) == " capital is far.<|im_end|>"
    assert learned(rows.train, 1) == " capibara is near.<|im_end|>"


def test_prompts_are_aligned_at_the_first_token_that_differs() -> None:
    assert align_prompts([1, 2, 3, 4], [1, 2, 3, 5], starts=(3, 3)) == 3
    assert align_prompts([1, 2, 9, 4], [1, 2, 8, 5], starts=(3, 3)) == 2
    assert align_prompts([1, 2, 3, 4], [1, 2, 3, 5], starts=(3, 2)) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Which?", "chosen": "This.", "rejected": "This."}, "both answers are equal"),
        (
            {
                "chosen": [QUESTION, said("This.")],
                "rejected": [{"role": "user", "content": "What?"}, said("That.")],
            },
            "do not follow the same prompt",
        ),
    ],
)
def test_answers_that_cannot_be_compared_are_broken_rows(row: Any, reason: str, tmp_path: Path) -> None:
    facts = facts_of(file_of(tmp_path, PAIRS[0], row), Objective.ORPO)
    assert facts.train.num_broken == 1
    assert reason in facts.train.broken[0].message


def test_rated_answers_are_stored_with_their_ratings_and_counted(tmp_path: Path) -> None:
    labels = [True, False, 1, 0, True]
    rows = RowSinks()
    lines = [{"prompt": "Which?", "completion": f"Number {i}.", "label": label} for i, label in enumerate(labels)]
    lines.append({"prompt": "Which?", "completion": "word " * 300, "label": True})
    facts = facts_of(file_of(tmp_path, *lines), Objective.KTO, rows, length=100)
    assert [rows.train.is_good(i) for i in range(len(rows.train))] == [True, False, True, False, True]
    assert facts.train.ratings == Ratings(desirable=3, undesirable=2)
    assert tokens_of(facts.train).truncated.rows == 1
    assert learned(rows.train, 0) == "Number 0.<|im_end|>"


def test_the_prompt_is_never_learned_of_an_answer_that_is_judged(tmp_path: Path) -> None:
    rows = RowSinks()
    facts_of(file_of(tmp_path, PAIRS[0]), Objective.ORPO, rows, train_on_prompt=True)
    assert learned(rows.train, 0) == "This one.<|im_end|>"


@pytest.mark.parametrize(
    ("row", "method", "hint"),
    [
        (PAIRS[0], Objective.SFT, "--method orpo or simpo"),
        ({"prompt": "a", "completion": "b", "label": True}, Objective.SFT, "--method kto"),
        ({"prompt": "a", "completion": "b", "label": True}, Objective.ORPO, "--method kto"),
        ({"messages": [QUESTION, said("This.")]}, Objective.KTO, "--method sft"),
        (PAIRS[0], Objective.KTO, "--method orpo or simpo"),
    ],
)
def test_a_method_names_those_that_the_rows_are_for(row: Any, method: Objective, hint: str, tmp_path: Path) -> None:
    absent = observe(file_of(tmp_path, row), method)
    assert isinstance(absent, Absent)
    assert absent.problem.code == "INPUT_DATASET_FORMAT_UNSUPPORTED"
    assert f"--method {method.value} cannot learn from" in absent.problem.message
    assert hint in absent.problem.hint


def test_a_share_is_held_out_by_pairs(tmp_path: Path) -> None:
    lines = [{"prompt": f"{i}?", "chosen": f"Yes, {i}.", "rejected": "No."} for i in range(20)]
    rows = RowSinks()
    facts = facts_of(file_of(tmp_path, *lines), Objective.SIMPO, rows, eval_split="0.25")
    assert facts.heldout is not None
    assert facts.heldout.rows == 5
    assert (len(rows.train), len(rows.heldout)) == (30, 10)


def test_both_answers_are_shown_with_what_is_learned(tmp_path: Path) -> None:
    settings = DataSettings(dataset_name=str(file_of(tmp_path, PAIRS[0], PAIRS[1])))
    shown = mask_examples(settings, max_seq_length=99, tokenizer=TOKENIZER, count=1, method=Objective.ORPO)
    assert [example.where.rsplit(" ", 1)[-1] for example in shown] == ["chosen", "rejected"]
    assert ["".join(p.text for p in e.pieces if p.learned) for e in shown] == [
        "This one.<|im_end|>",
        "That, I would say.<|im_end|>",
    ]
