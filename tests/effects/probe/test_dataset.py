from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from backprop.effects.files.token_store import RowSinks, TokenStore
from backprop.effects.probe.dataset import mask_examples, observe_data
from backprop.plan.data.check import Check
from backprop.plan.data.mask import MaskExample, Piece
from backprop.plan.decision import Problem
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.dataset import DataFacts, DatasetFacts, RowCount, TokenFacts
from backprop.plan.settings.data import ChatFormat, DataSettings
from tests.effects.probe.smollm2 import chat_tokenizer

TOKENIZER = chat_tokenizer("chatml")


def turns(*texts: str) -> dict[str, Any]:
    return {"messages": [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]}


def file_of(directory: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    path = directory / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), "utf-8")
    return path


def observe(path: Path, *, max_seq_length: int = 512, rows: RowSinks | None = None, **given: Any) -> DataFacts | Absent:
    settings = DataSettings(dataset_name=str(path), **given)
    return observe_data(settings, max_seq_length=max_seq_length, seed=1, tokenizer=TOKENIZER, rows=rows)


def facts_of(path: Path, **given: Any) -> DataFacts:
    facts = observe(path, **given)
    assert isinstance(facts, DataFacts), facts
    return facts


def tokens_of(dataset: DatasetFacts | None) -> TokenFacts:
    assert dataset is not None
    assert dataset.tokens is not None
    return dataset.tokens


def refusal(path: Path, **given: Any) -> Problem:
    absent = observe(path, **given)
    assert isinstance(absent, Absent)
    assert absent.problem is not None
    return absent.problem


def stored(store: TokenStore) -> list[tuple[list[int], list[int]]]:
    return [(list(ids), list(mask)) for ids, mask in map(store.row, range(len(store)))]


def test_rows_tokens_and_targets_are_counted(tmp_path: Path) -> None:
    # <|im_start|> user \n Hi <|im_end|> \n <|im_start|> ass istant \n Yes <|im_end|> \n: 13 tokens, 2 of them learned.
    path = file_of(tmp_path, turns("Hi", "Yes"), turns("Hi", "Yes"), turns("Hi", "Yes", "Hi", "Yes"), turns("Hi"))
    train = facts_of(path).train
    assert (train.rows, train.num_broken, train.row_format, train.rendering) == (4, 0, "openai", "chat template")
    assert train.name == str(path)
    assert train.num_bytes == path.stat().st_size
    tokens = tokens_of(train)
    assert (tokens.tokens, tokens.supervised_tokens) == (13 + 13 + 26, 2 + 2 + 4)
    assert tokens.length_counts == ((13, 2), (26, 1))
    assert (tokens.longest_uncut, tokens.uncut_p50, tokens.uncut_p99) == (26, 13, 26)
    assert tokens.without_target == RowCount(1, f"{path}:4: <|im_start|>user Hi<|im_end|>")
    assert tokens.end_tokens == ("<|im_end|>",)
    assert tokens.truncated == tokens.lost_targets == tokens.unplaced_targets == tokens.unended_targets == RowCount(0)


def test_a_row_that_is_cut_is_counted_and_one_that_loses_its_answer_is_left_out(tmp_path: Path) -> None:
    path = file_of(tmp_path, turns("Hi", "Yes"), turns("Hi", "Yes yes yes"), turns("Hi " * 20, "Yes"))
    tokens = tokens_of(facts_of(path, max_seq_length=13).train)
    assert tokens.truncated == RowCount(2, f"{path}:2: Yes yes yes")
    assert tokens.without_target == RowCount(1, f"{path}:3: Yes")
    assert tokens.length_counts == ((13, 2),)
    assert tokens.longest_uncut == 33


def test_what_is_counted_is_what_is_stored(tmp_path: Path) -> None:
    path = file_of(tmp_path, turns("Hi", "Yes"), turns("Hi"), turns("Hi", "No no"))
    sinks = RowSinks()
    tokens = tokens_of(facts_of(path, rows=sinks).train)
    rows = stored(sinks.train)
    assert [TOKENIZER.decode(ids).splitlines()[-1] for ids, _ in rows] == ["Yes<|im_end|>", "No no<|im_end|>"]
    assert sum(len(ids) for ids, _ in rows) == tokens.tokens
    assert sum(sum(mask) for _, mask in rows) == tokens.supervised_tokens
    sinks.close()


def test_a_share_is_held_out_the_same_way_every_time(tmp_path: Path) -> None:
    rows = [turns("Hi", f"Answer {i}") for i in range(20)]
    some, shuffled = file_of(tmp_path, *rows), file_of(tmp_path, *rows[::-1], name="shuffled.jsonl")
    sides = []
    for path in (some, some, shuffled):
        sinks = RowSinks()
        facts = facts_of(path, eval_split="0.25", rows=sinks)
        assert facts.heldout is not None
        assert (facts.train.rows, facts.heldout.rows) == (15, 5)
        train, heldout = ({tuple(ids) for ids, _ in stored(side)} for side in (sinks.train, sinks.heldout))
        assert (len(train), len(heldout), train & heldout) == (15, 5, set())
        sides.append(heldout)
        sinks.close()
    assert sides[0] == sides[1] == sides[2]


def test_rows_that_differ_in_case_or_blanks_are_held_out_together(tmp_path: Path) -> None:
    path = file_of(tmp_path, *[turns(hi, f"Answer {i}") for i in range(20) for hi in ("Hi", "HI", " hi ")])
    sinks = RowSinks()
    facts = facts_of(path, eval_split="0.25", rows=sinks)
    assert facts.heldout is not None
    assert (facts.train.rows, facts.heldout.rows) == (45, 15)
    answers = [
        {TOKENIZER.decode(ids).split("Answer")[1] for ids, _ in stored(side)} for side in (sinks.train, sinks.heldout)
    ]
    assert [len(side) for side in answers] == [15, 5]
    assert not answers[0] & answers[1]
    sinks.close()


def test_equal_rows_are_held_out_together(tmp_path: Path) -> None:
    path = file_of(tmp_path, *[turns("Hi", f"Answer {i % 5}") for i in range(50)])
    sinks = RowSinks()
    facts_of(path, eval_split="0.2", rows=sinks)
    train, heldout = ({tuple(ids) for ids, _ in stored(side)} for side in (sinks.train, sinks.heldout))
    assert (len(train), len(heldout), train & heldout) == (4, 1, set())
    sinks.close()


def test_a_file_may_hold_what_is_held_out_in_another_layout(tmp_path: Path) -> None:
    held = file_of(tmp_path, {"prompt": "Hi", "completion": "Yes"}, name="held.jsonl")
    facts = facts_of(file_of(tmp_path, turns("Hi", "Yes"), turns("Hi", "No")), eval_split=str(held), max_samples=1)
    assert facts.heldout is not None
    assert (facts.train.rows, facts.heldout.rows) == (1, 1)
    assert facts.heldout.row_format == "completion"
    assert tokens_of(facts.heldout) == tokens_of(facts.train)


def test_at_most_the_samples_that_were_asked_for_are_used(tmp_path: Path) -> None:
    path = file_of(tmp_path, *[turns("Hi", f"Answer {i}") for i in range(10)])
    assert facts_of(path, max_samples=4).train.rows == 4
    split = facts_of(path, max_samples=4, eval_split="0.5")
    assert split.heldout is not None
    assert (split.train.rows, split.heldout.rows) == (2, 2)


def test_progress_tells_the_rows_read(tmp_path: Path) -> None:
    heard: list[int] = []
    settings = DataSettings(dataset_name=str(file_of(tmp_path, *[turns("Hi", "Yes")] * 300)))
    observe_data(settings, max_seq_length=512, seed=1, tokenizer=TOKENIZER, progress=heard.append)
    assert heard == [256, 300]


def test_broken_rows_are_named_and_the_others_used(tmp_path: Path) -> None:
    path = file_of(
        tmp_path, turns("Hi", "Yes"), '{"messages": [', {"messages": []}, {"text": "x"}, turns("Hi", "\ud800")
    )
    train = facts_of(path).train
    assert (train.rows, train.num_broken, tokens_of(train).sequences) == (5, 4, 1)
    assert [problem.where for problem in train.broken] == [f"{path}:{line}" for line in (2, 3, 4, 5)]
    messages = " ".join(problem.message for problem in train.broken)
    for words in ("is not JSON", "the conversation is empty", "laid out as raw, the first rows of the file as openai"):
        assert words in messages
    assert "half of a surrogate pair" in train.broken[3].message


def test_a_layout_that_was_asked_for_is_not_told_from_the_rows(tmp_path: Path) -> None:
    path = file_of(tmp_path, {"text": "x", "prompt": "Hi", "completion": "Yes"})
    assert facts_of(path).train.row_format == "completion"
    assert facts_of(path, chat_format=ChatFormat.RAW).train.row_format == "raw"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference pairs (chosen, rejected)"),
        ({"prompt": "a", "completion": "b", "label": True}, "rated completions (prompt, completion, label)"),
        ({"question": "a", "answer": "b"}, "no layout that is known: the first has the keys answer, question"),
    ],
)
def test_rows_that_cannot_be_learned_from_are_refused_with_what_they_are(tmp_path: Path, row: Any, words: str) -> None:
    problem = refusal(file_of(tmp_path, row))
    assert problem.code == "INPUT_DATASET_FORMAT_UNSUPPORTED"
    assert words in problem.message
    assert "prompt/completion" in problem.hint


def test_what_cannot_be_held_out_is_refused(tmp_path: Path) -> None:
    path = file_of(tmp_path, turns("Hi", "Yes"), turns("Hi", "Yes"))
    assert "no two rows that differ" in refusal(path, eval_split="0.5").message
    assert refusal(path, eval_split="1.5").code == "CONFIG_INVALID_SETTING"
    assert refusal(path, eval_split=str(tmp_path / "none.jsonl")).where == "--eval-split"


def test_a_misspelt_file_is_answered_with_the_one_beside_it(tmp_path: Path) -> None:
    path = file_of(tmp_path, turns("Hi", "Yes"))
    problem = refusal(tmp_path / "row.jsonl")
    assert problem.code == "INPUT_DATASET_NOT_FOUND"
    assert f"Did you mean {path}?" in problem.message
    assert f"Did you mean {path}?" in refusal(tmp_path / "rows.json").message
    assert "Did you mean" not in refusal(tmp_path / "kto.jsonl").message


def test_a_mask_is_shown_in_pieces(tmp_path: Path) -> None:
    path = file_of(tmp_path, "{", turns("Hi", "Yes"), {"messages": []}, turns("Hi", "Yes yes"), turns("a", "b"))
    settings = DataSettings(dataset_name=str(path))
    one, two = mask_examples(settings, max_seq_length=13, tokenizer=TOKENIZER, count=2)
    asked = Piece("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", learned=False)
    assert one == MaskExample(
        f"{path}:2", (asked, Piece("Yes<|im_end|>", learned=True), Piece("\n", learned=False)), num_tokens=13
    )
    assert two == MaskExample(f"{path}:4", (asked, Piece("Yes yes<|im_end|>", learned=True)), num_tokens=13, num_cut=1)
    whole = attrs.evolve(settings, train_on_prompt=True, max_samples=2)
    (only,) = mask_examples(whole, max_seq_length=99, tokenizer=TOKENIZER, count=2)
    assert [piece.learned for piece in only.pieces] == [False, True]
    assert only.pieces[0].text == "<|im_start|>"


def test_rows_without_a_good_trace_are_left_out_and_counted(tmp_path: Path) -> None:
    long = "<think>" + "Well then. " * 20 + "</think>Yes"
    rows = [turns("Hi", "<think>" + "Hm. " * 10 + "</think>Yes"), turns("Hi", "Yes"), turns("Hi", long)]
    path = file_of(tmp_path, *rows, turns("Hi", "<think>Hm."))
    train = facts_of(path, reasoning_trace=True, max_trace_tokens=40).train
    assert train.traces is not None
    assert (train.traces.kept, train.traces.left_out, train.num_broken) == (1, 3, 0)
    assert (train.traces.empty, train.traces.too_long) == (RowCount(1, f"{path}:2"), RowCount(1, f"{path}:3"))
    assert train.traces.unbalanced == RowCount(1, f"{path}:4")
    assert tokens_of(train).sequences == 1
    assert facts_of(path).train.traces is None


def test_rows_that_are_trained_on_with_an_error_are_counted_with_the_first_place(tmp_path: Path) -> None:
    path = file_of(
        tmp_path, turns("Hi.", "Hello."), turns("Hi.", "<think>never closed"), turns("Hi.", "<think>", "Hi?", "Hello.")
    )
    (fault,) = facts_of(path).train.faults
    assert (fault.check, fault.rows) == (Check.UNBALANCED_THINK, RowCount(2, f"{path}:2"))
