"""Which files of a repository are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backprop.effects.probe.hub_splits import are_whole, files_of_split, read_card
from backprop.plan.errors import BackpropError

BY_DIRECTORY = ["README.md", "en/train-1.jsonl", "en/train-0.jsonl", "de/train-0.jsonl", "de/test-0.jsonl"]


def picked(files: list[str], split: str = "train", **how: Any) -> tuple[str, ...]:
    return files_of_split(files, split, name="ann/rows", **how)


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("rows.jsonl", "train"),
        ("valid.jsonl", "validation"),
        ("data/dev-0.csv.gz", "validation"),
        ("test/part-0.parquet", "test"),
        ("data/train_sft-00000-of-00001.parquet", "train_sft"),
        ("rows_test.json", "test"),
    ],
)
def test_a_file_tells_its_split_by_its_name(file: str, split: str) -> None:
    assert picked([file], split) == (file,)


def test_the_short_names_of_splits_are_known() -> None:
    assert picked(["valid.jsonl", "train.jsonl"], "dev") == ("valid.jsonl",)


def test_an_unknown_split_names_those_there_are() -> None:
    with pytest.raises(BackpropError, match="no split 'dev': it has test, train"):
        picked(["train.jsonl", "test.jsonl", "README.md"], "dev")


def test_a_repository_without_data_names_the_kinds_that_can_be_read() -> None:
    with pytest.raises(BackpropError, match=r"no file has a type that can be read \(\.jsonl"):
        picked(["README.md", "rows.py", "dataset_infos.json", ".hidden.jsonl"])


def test_directories_that_only_name_the_split_are_no_configurations() -> None:
    files = ["data/train/a.jsonl", "train/b.jsonl", "train-c.jsonl", "data/test/a.jsonl"]
    assert len(picked(files)) == 3


def test_files_of_several_directories_are_not_mixed() -> None:
    with pytest.raises(BackpropError, match="several configurations: de, en") as told:
        picked(BY_DIRECTORY)
    assert told.value.problems[0].hint == "Name one: --data ann/rows:de"


def test_the_configuration_that_is_named_is_read() -> None:
    assert picked(BY_DIRECTORY, configuration="en") == ("en/train-0.jsonl", "en/train-1.jsonl")


def test_the_only_configuration_that_has_the_split_needs_no_name() -> None:
    assert picked(BY_DIRECTORY, "test") == ("de/test-0.jsonl",)


def test_an_unknown_configuration_names_those_there_are() -> None:
    with pytest.raises(BackpropError, match="no configuration 'fr': it has de, en"):
        picked(BY_DIRECTORY, configuration="fr")


def card(*configs: dict[str, Any]) -> dict[str, Any]:
    return {"configs": [{"config_name": name, **config} for name, config in zip("ab", configs, strict=False)]}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"data_files": "x/*.jsonl"}, ("x/rows.jsonl",)),
        ({"data_files": ["x/**", "top.jsonl"]}, ("x/deep/rows.jsonl", "x/rows.jsonl", "top.jsonl")),
        ({"data_files": [{"split": "train", "path": ["**/rows.jsonl"]}]}, ("x/deep/rows.jsonl", "x/rows.jsonl")),
        ({"data_dir": "x/deep"}, ("x/deep/rows.jsonl",)),
        ({"data_dir": "./x", "data_files": "row?.jsonl"}, ("x/rows.jsonl",)),
    ],
)
def test_a_card_names_files_by_pattern(config: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert picked(["top.jsonl", "x/rows.jsonl", "x/deep/rows.jsonl"], card=card(config)) == expected


def test_a_card_gives_files_to_the_split_that_it_says() -> None:
    told = card({"data_files": [{"split": "test", "path": "train.jsonl"}]})
    assert picked(["train.jsonl"], "test", card=told) == ("train.jsonl",)


def test_the_default_of_a_card_is_read() -> None:
    told = card({"data_files": "x.jsonl"}, {"data_files": "y.jsonl", "default": True})
    assert picked(["x.jsonl", "y.jsonl"], card=told) == ("y.jsonl",)


@pytest.mark.parametrize("odd", [{"configs": "x"}, {"configs": ["x", {}]}, {"configs": [{"config_name": "a"}], "x": 1}])
def test_a_card_that_names_no_files_changes_nothing(odd: dict[str, Any]) -> None:
    assert picked(["train.jsonl"], card=odd) == ("train.jsonl",)


@pytest.mark.parametrize("text", ["", "# Rows", "---\nconfigs: [\n---\n", "---\n- a\n---\n"])
def test_a_card_that_cannot_be_read_is_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert read_card(tmp_path / "README.md") == {}
    assert read_card(tmp_path / "none.md") == {}


def test_a_series_of_shards_is_whole_when_none_is_missing() -> None:
    first, second = (f"data/train-0000{i}-of-00002.parquet" for i in (0, 1))
    assert are_whole([first, second, "other.jsonl"])
    assert not are_whole([second])
