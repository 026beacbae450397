"""``backprop data show`` on real files and the real tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backprop.cli.style import Style
from backprop.cli.views.data_show import show
from backprop.plan.data.shown import ShowReport
from backprop.plan.errors import BackpropError
from backprop.plan.settings.resolve import Origin, Origins, Source
from backprop.plan.settings.verbs.data_show import DataShowSettings
from backprop.workflows.data_show import run
from backprop.workflows.request import Request
from tests.tiny import make_tiny_model

ASKED, ANSWERED = {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}
CHAT = {"messages": [ASKED, ANSWERED]}
PAIR = {"prompt": "Where?", "chosen": "Here.", "rejected": "Nowhere."}
PLAIN = Style()


def shown(path: Path, *rows: object, **settings: object) -> ShowReport:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    report = run(Request(DataShowSettings(dataset=str(path), **settings))).report  # type: ignore[arg-type]
    assert isinstance(report, ShowReport)
    return report


def test_a_row_is_found_by_its_number_and_told_with_its_line(tmp_path: Path) -> None:
    report = shown(tmp_path / "chats.jsonl", CHAT, "", CHAT, row=2)
    assert report.where == f"{tmp_path / 'chats.jsonl'}:3"
    (part,) = report.parts
    assert [(turn.role, turn.learned) for turn in part.turns] == [("user", False), ("assistant", True)]


def test_both_answers_of_a_preference_are_shown(tmp_path: Path) -> None:
    report = shown(tmp_path / "pairs.jsonl", PAIR)
    assert [part.title for part in report.parts] == ["chosen", "rejected"]
    assert "Nowhere." in show(report, PLAIN)


def test_a_model_shows_its_template_and_what_it_learns(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    report = shown(tmp_path / "chats.jsonl", CHAT, model=str(model))
    assert report.rendered is not None
    assert report.rendered.endswith("<|im_start|>assistant\nHere.<|im_end|>\n")
    assert report.mask is not None
    assert [piece.text for piece in report.mask.pieces if piece.learned] == ["Here.<|im_end|>"]
    assert "⟦Here.<|im_end|>⟧" in show(report, PLAIN)


def test_a_row_that_is_not_there_is_refused_with_how_many_there_are(tmp_path: Path) -> None:
    with pytest.raises(BackpropError, match=r"There is no row 3: .* has 2"):
        shown(tmp_path / "chats.jsonl", CHAT, CHAT, row=3)


def test_a_broken_row_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    with pytest.raises(BackpropError, match="is not JSON"):
        shown(tmp_path / "chats.jsonl", CHAT, "{", row=2)


def test_a_row_is_cut_where_training_would_cut_it(tmp_path: Path) -> None:
    model = make_tiny_model(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 64}))
    long = {"messages": [ASKED, {**ANSWERED, "content": "word " * 500}]}
    for asked, num_tokens in ((None, 64), (32, 32), (512, 64)):
        mask = shown(tmp_path / "chats.jsonl", long, model=str(model), max_seq_length=asked).mask
        assert mask is not None
        assert mask.num_tokens == num_tokens


def test_flags_about_tokens_are_told_to_change_nothing_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").write_text(json.dumps(CHAT) + "\n")
    settings = DataShowSettings(dataset=str(tmp_path / "chats.jsonl"), max_seq_length=64)
    keys = ("max_seq_length", "data.train_on_prompt", "data.dataset_split")
    outcome = run(Request(settings, Origins({key: Origin(Source.FLAG, key) for key in keys})))
    assert [problem.where for problem in outcome.problems] == [
        "--train-on-prompt",
        "--max-seq-length",
        "--dataset-split",
    ]
    assert outcome.exit_code == 0
