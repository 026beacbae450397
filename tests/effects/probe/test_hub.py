"""The real client against a Hub on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backprop.effects.probe.hub import fetch_dataset, fetch_weights
from backprop.effects.probe.model import observe_model
from backprop.effects.probe.row_source import open_source
from backprop.plan.decision import Problem
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.architectures import facts_from_config
from backprop.plan.facts.model import ModelFacts, ModelSource
from backprop.plan.settings.data import ChatFormat, DataSettings
from tests.hub_double import COMMIT, CUT, GATED, NOWHERE, Hub, Refusal, ask, serving

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 128,
    "max_position_embeddings": 256,
    "dtype": "float32",
}
FILES: dict[str, bytes | str] = {
    "config.json": json.dumps(CONFIG),
    "tokenizer.json": "{}",
    "README.md": "# A model",
    "model.safetensors": b"\0" * 64,
    "pytorch_model.bin": b"\0" * 64,
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as running:
        running.add("ann/small", FILES, safetensors={"parameters": {"BF16": 4242}, "total": 4242})
        yield running


def observe(hub: Hub | str, home: Path, name: str = "ann/small", **more: str) -> ModelFacts:
    found = ask(hub, home, lambda: observe_model(name), **more)
    assert isinstance(found, ModelFacts), found
    return found


def refusal_of(hub: Hub | str, home: Path, name: str = "ann/small", **more: str) -> Problem:
    found = ask(hub, home, lambda: observe_model(name), **more)
    assert isinstance(found, Absent), found
    return found.problem


def test_a_model_on_the_hub_is_described_without_its_weights(hub: Hub, tmp_path: Path) -> None:
    facts = observe(hub, tmp_path)
    assert facts.source is ModelSource.HUB
    assert facts.commit == COMMIT
    assert (facts.num_parameters, facts.weights_dtype, facts.weights_bytes) == (4242, "bfloat16", None)
    assert hub.fetched() == {"config.json", "tokenizer.json", "README.md"}
    assert (Path(str(facts.directory)) / "config.json").read_text() == FILES["config.json"]


def test_a_tied_head_that_is_stored_twice_counts_once(hub: Hub, tmp_path: Path) -> None:
    head = CONFIG["vocab_size"] * CONFIG["hidden_size"]
    config = {**CONFIG, "tie_word_embeddings": True}
    tied = facts_from_config(config, name="", source=ModelSource.HUB).num_parameters
    files = {**FILES, "config.json": json.dumps(config)}
    hub.add("ann/tied", files, safetensors={"parameters": {"BF16": tied + head}, "total": tied + head})
    assert observe(hub, tmp_path, "ann/tied").num_parameters == tied


def test_a_described_model_is_served_from_the_cache_without_a_request(hub: Hub, tmp_path: Path) -> None:
    first = observe(hub, tmp_path)
    hub.requests.clear()
    again = observe(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert hub.requests == []
    assert again.source is ModelSource.HUB_CACHE
    assert again.directory == first.directory


def test_weights_are_fetched_once_and_in_one_format(hub: Hub, tmp_path: Path) -> None:
    directory = ask(hub, tmp_path, lambda: fetch_weights("ann/small", None))
    assert isinstance(directory, Path), directory
    assert hub.fetched() == {"README.md", "config.json", "tokenizer.json", "model.safetensors"}
    assert (directory / "model.safetensors").stat().st_size == 64


def test_the_tokenizer_and_the_licence_come_whole(hub: Hub, tmp_path: Path) -> None:
    also = {"tekken.json": "{}", "sentencepiece.bpe.model": "m", "vocab.txt": "a", "LICENSE": "MIT", "NOTICE": "n"}
    hub.add("ann/small", {**FILES, **also, "notes.txt": "n", "model.onnx": "o"})
    directory = ask(hub, tmp_path, lambda: fetch_weights("ann/small", None))
    assert isinstance(directory, Path), directory
    assert {path.name for path in directory.iterdir()} - set(FILES) == set(also)


def shard(name: str) -> bytes:
    """A safetensors file with one tensor of two 16-bit numbers."""
    header = json.dumps({name: {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\0" * 4


SHARDS = {f"model-0000{i}-of-00002.safetensors": shard(f"part{i}") for i in (1, 2)}
INDEX = {"weight_map": {f"part{i}": name for i, name in enumerate(SHARDS, start=1)}}
SHARDED: dict[str, bytes | str] = {
    "config.json": json.dumps(CONFIG),
    "tokenizer.json": "{}",
    "model.safetensors.index.json": json.dumps(INDEX),
    **SHARDS,
}


def test_weights_that_are_partly_in_the_cache_are_not_taken_for_whole(hub: Hub, tmp_path: Path) -> None:
    hub.add("ann/sharded", SHARDED)
    first, second = sorted(SHARDS)
    directory = ask(hub, tmp_path, lambda: fetch_weights("ann/sharded", None))
    assert isinstance(directory, Path), directory
    (directory / second).unlink()

    facts = observe(NOWHERE, tmp_path, "ann/sharded")
    assert (facts.source, facts.weights_bytes) == (ModelSource.HUB_CACHE, None)
    hub.requests.clear()
    assert ask(hub, tmp_path, lambda: fetch_weights("ann/sharded", facts.commit)) == directory
    assert (directory / first).is_file()
    assert (directory / second).read_bytes() == SHARDS[second]
    assert observe(NOWHERE, tmp_path, "ann/sharded").weights_bytes == sum(map(len, SHARDS.values()))


def test_a_download_of_weights_that_is_cut_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.add("ann/sharded", SHARDED)
    first, second = sorted(SHARDS)
    hub.refusals[f"/ann/sharded/resolve/{COMMIT}/{second}"] = CUT
    problem = ask(hub, tmp_path, lambda: fetch_weights("ann/sharded", None))
    assert isinstance(problem, Problem)
    assert problem.code == "HUB_UNREACHABLE"
    hub.refusals.clear()
    hub.requests.clear()
    assert isinstance(ask(hub, tmp_path, lambda: fetch_weights("ann/sharded", None)), Path)
    assert second in hub.fetched()
    assert first not in hub.fetched()


@pytest.mark.parametrize(
    ("start", "refusal"),
    [
        ("/api/models/ann/small", GATED),
        ("/ann/small/resolve", GATED),
        ("/ann/small/resolve", Refusal(401, {"X-Error-Code": "GatedRepo"})),
        ("/api/models/ann/small", Refusal(401, {"X-Error-Message": "Invalid credentials in Authorization header"})),
        ("/api/models/ann/small", Refusal(403)),
    ],
)
def test_what_the_hub_keeps_from_this_account_takes_a_token(
    hub: Hub, tmp_path: Path, start: str, refusal: Refusal
) -> None:
    hub.refusals[start] = refusal
    problem = refusal_of(hub, tmp_path)
    assert problem.code == "INPUT_AUTH_REQUIRED"
    assert "ann/small" in problem.message


@pytest.mark.parametrize("status", [401, 404])
def test_a_name_that_the_hub_does_not_have_is_told_with_the_nearest_known(
    hub: Hub, tmp_path: Path, status: int
) -> None:
    hub.refusals["/api/models/Qwen/Qwen2.5-7B-Instrct"] = Refusal(status, {"X-Error-Code": "RepoNotFound"})
    problem = refusal_of(hub, tmp_path, "Qwen/Qwen2.5-7B-Instrct")
    assert problem.code == "INPUT_MODEL_NOT_FOUND"
    assert "Did you mean Qwen/Qwen2.5-7B-Instruct?" in problem.message


def test_a_repository_without_config_is_no_model(hub: Hub, tmp_path: Path) -> None:
    hub.add("ann/notes", {"README.md": "# Notes"})
    problem = refusal_of(hub, tmp_path, "ann/notes")
    assert problem.code == "INPUT_MODEL_NOT_FOUND"
    assert "no config.json" in problem.message


@pytest.mark.parametrize("start", ["/api/models/ann/small", f"/ann/small/resolve/{COMMIT}/tokenizer.json"])
def test_a_connection_that_is_cut_leaves_nothing_that_counts_as_whole(hub: Hub, tmp_path: Path, start: str) -> None:
    hub.refusals[start] = CUT
    problem = refusal_of(hub, tmp_path)
    assert problem.code == "HUB_UNREACHABLE"
    hub.refusals.clear()
    assert observe(hub, tmp_path).source is ModelSource.HUB


@pytest.mark.parametrize("start", ["/api/models/ann/small", "/ann/small/resolve"])
@pytest.mark.parametrize("status", [500, 503])
def test_a_hub_that_fails_is_told_with_its_status(hub: Hub, tmp_path: Path, status: int, start: str) -> None:
    hub.refusals[start] = Refusal(status)
    problem = refusal_of(hub, tmp_path)
    assert problem.code == "HUB_RESPONSE_UNKNOWN"
    assert str(status) in problem.message


def test_an_answer_that_is_no_hubs_is_told(hub: Hub, tmp_path: Path) -> None:
    hub.contents["/api/models/ann/small"] = b"<html>Sign in to the network</html>"
    assert refusal_of(hub, tmp_path).code == "HUB_RESPONSE_UNKNOWN"


def test_offline_mode_is_named_as_the_reason(hub: Hub, tmp_path: Path) -> None:
    problem = refusal_of(hub, tmp_path, HF_HUB_OFFLINE="1")
    assert problem.code == "HUB_UNREACHABLE"
    assert "HF_HUB_OFFLINE is set" in problem.message
    assert hub.requests == []


def test_a_hub_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    assert refusal_of(NOWHERE, tmp_path).code == "HUB_UNREACHABLE"


def files_of(hub: Hub | str, home: Path, name: str = "ann/rows", split: str = "train") -> list[str] | Problem:
    return ask(hub, home, lambda: [path.name for path in fetch_dataset(name, split)])


def test_the_files_of_one_split_are_fetched_in_order(hub: Hub, tmp_path: Path) -> None:
    files = {f"data/{split}-0000{i}-of-00002.jsonl": "{}" for split in ("train", "test") for i in (1, 0)}
    hub.add("ann/rows", files, kind="dataset")
    assert files_of(hub, tmp_path) == ["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"]
    assert all("test-" not in file for file in hub.fetched())


def test_the_split_that_was_asked_for_is_read(hub: Hub, tmp_path: Path) -> None:
    hub.add("ann/rows", {f"{split}.jsonl": json.dumps({"text": split}) for split in ("train", "test")}, kind="dataset")

    def texts() -> list[str]:
        source = open_source("ann/rows", DataSettings(dataset_split="test"), flag="--data")
        return [str(row.example) for row in source.rows()]

    found = ask(hub, tmp_path, texts)
    assert isinstance(found, list)
    (text,) = found
    assert "test" in text


def test_a_fetched_data_set_is_read_from_the_cache_when_the_hub_is_gone(hub: Hub, tmp_path: Path) -> None:
    hub.add("ann/rows", {"train.jsonl": "{}"}, kind="dataset")
    assert files_of(hub, tmp_path) == ["train.jsonl"]
    assert files_of(NOWHERE, tmp_path) == ["train.jsonl"]


def test_a_data_set_that_is_not_there_is_told(hub: Hub, tmp_path: Path) -> None:
    problem = files_of(hub, tmp_path, "ann/none")
    assert isinstance(problem, Problem)
    assert problem.code == "INPUT_DATASET_NOT_FOUND"


CARD = """---
configs:
- config_name: main
  data_files:
  - {split: train, path: "main/train-*"}
- config_name: socratic
  data_files:
  - {split: train, path: "socratic/train-*"}
---
# Problems
"""
TWO_CONFIGURATIONS = {"README.md": CARD, **{f"{config}/train-a.jsonl": "{}" for config in ("main", "socratic")}}


def test_a_data_set_of_several_configurations_asks_for_one(hub: Hub, tmp_path: Path) -> None:
    hub.add("ann/rows", TWO_CONFIGURATIONS, kind="dataset")
    problem = files_of(hub, tmp_path)
    assert isinstance(problem, Problem)
    assert problem.code == "INPUT_VALIDATION_FAILED"
    assert "main, socratic" in problem.message
    assert problem.hint == "Name one: --data ann/rows:main"
    assert hub.fetched() == {"README.md"}


def test_the_configuration_that_is_named_is_read_also_from_the_cache(hub: Hub, tmp_path: Path) -> None:
    hub.add("ann/rows", TWO_CONFIGURATIONS, kind="dataset")

    def directories() -> list[str]:
        source = open_source("ann/rows:socratic", DataSettings(chat_format=ChatFormat.RAW), flag="--data")
        return [path.parent.name for path in source.paths]

    assert ask(hub, tmp_path, directories) == ["socratic"]
    assert ask(NOWHERE, tmp_path, directories) == ["socratic"]


def test_what_the_cache_does_not_have_whole_is_not_read_without_the_hub(hub: Hub, tmp_path: Path) -> None:
    names = [f"{split}-0000{i}-of-00002.jsonl" for split in ("train", "test") for i in (0, 1)]
    hub.add("ann/rows", {name: name for name in names}, kind="dataset")
    files_of(hub, tmp_path)
    hub.refusals[f"/datasets/ann/rows/resolve/{COMMIT}/test-00001"] = CUT
    cut = files_of(hub, tmp_path, split="test")
    gone = files_of(NOWHERE, tmp_path, split="test")
    absent = files_of(NOWHERE, tmp_path, split="validation")
    assert [getattr(problem, "code", None) for problem in (cut, gone, absent)] == ["HUB_UNREACHABLE"] * 3
