"""Models in directories, and what stands there instead of one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from backprop.effects.probe.model import observe_model, observe_shape
from backprop.effects.probe.row_source import open_source
from backprop.plan.decision import Problem
from backprop.plan.errors import CATALOGUE, BackpropError, hint_for
from backprop.plan.facts.absent import Absent
from backprop.plan.facts.model import ModelFacts, ModelSource
from backprop.plan.settings.data import DataSettings
from tests.tiny import make_tiny_model

REAL = Path(__file__).parents[3] / ".models" / "SmolLM2-135M-Instruct"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def facts_of(name: Path | str) -> ModelFacts:
    found = observe_model(str(name))
    assert isinstance(found, ModelFacts), found
    return found


def problem_of(name: Path | str) -> Problem:
    found = observe_model(str(name))
    assert isinstance(found, Absent), found
    assert found.problem.code in CATALOGUE
    assert found.problem.where == "--model"
    return found.problem


def test_a_directory_is_described_by_what_its_weights_show(tiny: Path) -> None:
    facts = facts_of(tiny)
    loaded = AutoModelForCausalLM.from_pretrained(tiny)
    layers = {
        name.rpartition(".")[2]: (module.in_features, module.out_features)
        for name, module in loaded.model.layers[0].named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    assert (facts.name, facts.source, facts.directory) == (str(tiny), ModelSource.DIRECTORY, str(tiny))
    assert facts.num_parameters == loaded.num_parameters()
    assert facts.weights_dtype == "float32"
    assert facts.weights_bytes == (tiny / "model.safetensors").stat().st_size
    assert {layer.name: (layer.in_features, layer.out_features) for layer in facts.linear_layers} == layers


def test_the_real_model_is_what_the_table_says_of_it() -> None:
    facts = facts_of(REAL)
    assert facts.num_parameters == 134_515_008
    assert (facts.num_layers, facts.num_heads, facts.num_kv_heads, facts.head_dim) == (30, 9, 3, 64)


def test_weights_in_shards_are_the_same_weights(tiny: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(tiny).save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    sharded, whole = facts_of(tmp_path), facts_of(tiny)
    assert sharded.num_parameters == whole.num_parameters
    assert sharded.linear_layers == whole.linear_layers


def test_a_missing_shard_is_named(tiny: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(tiny).save_pretrained(tmp_path, max_shard_size="40KB")
    lost = min(tmp_path.glob("model-*.safetensors"))
    lost.unlink()
    problem = problem_of(tmp_path)
    assert problem.code == "DEP_MODEL_LOAD_FAILED"
    assert lost.name in problem.message


def test_pickled_weights_are_counted_by_the_configuration(model: Path, tiny: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    facts = facts_of(model)
    assert facts.num_parameters == facts_of(tiny).num_parameters
    assert facts.weights_bytes == (model / "pytorch_model.bin").stat().st_size


def test_weights_that_were_cut_off_are_told(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    problem = problem_of(model)
    assert problem.code == "DEP_MODEL_LOAD_FAILED"
    assert str(weights) in problem.message


@pytest.mark.parametrize("content", [b"", b"\0" * 4, b"\xff" * 64, b"version https://git-lfs.github.com/spec/v1\n"])
def test_what_is_no_weights_file_is_told(model: Path, content: bytes) -> None:
    (model / "model.safetensors").write_bytes(content)
    assert "is not a safetensors file, or was cut off" in problem_of(model).message


def test_a_directory_without_config_is_no_model(model: Path) -> None:
    (model / "config.json").unlink()
    problem = problem_of(model)
    assert problem.code == "INPUT_MODEL_NOT_FOUND"
    assert "no config.json" in problem.message


def test_a_directory_without_weights_names_the_files_that_were_looked_for(model: Path) -> None:
    (model / "model.safetensors").unlink()
    problem = problem_of(model)
    assert problem.code == "DEP_MODEL_LOAD_FAILED"
    assert "model.safetensors, model.safetensors.index.json or pytorch_model.bin" in problem.message


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, "\xff", '{"model_type": "llama"}'])
def test_a_broken_config_is_named(model: Path, text: str) -> None:
    (model / "config.json").write_bytes(text.encode("latin-1"))
    for problem in (problem_of(model), shape_problem_of(model)):
        entry = CATALOGUE[problem.code]
        assert (problem.code, entry.exit_code, entry.retryable) == ("INPUT_MODEL_INVALID", 1, False)
        assert "config.json" in problem.message


def shape_problem_of(directory: Path) -> Problem:
    absent = observe_shape(str(directory))
    assert isinstance(absent, Absent)
    return absent.problem


@pytest.mark.parametrize("lost", ["nothing", "all", "a byte"])
def test_the_shape_of_a_model_needs_no_weights(model: Path, tiny: Path, lost: str) -> None:
    weights = model / "model.safetensors"
    if lost == "all":
        weights.unlink()
    elif lost == "a byte":
        weights.write_bytes(weights.read_bytes()[:-1])
    shape = observe_shape(str(model))
    assert isinstance(shape, ModelFacts)
    assert (shape.num_parameters, shape.linear_layers) == (
        facts_of(tiny).num_parameters,
        facts_of(tiny).linear_layers,
    )


def test_a_slash_at_the_end_of_a_directory_is_no_part_of_its_name(model: Path) -> None:
    assert observe_model(f"{model}/") == observe_model(str(model))


def test_an_adapter_leads_to_its_base(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "ann/base"}))
    problem = problem_of(tmp_path)
    assert problem.code == "INPUT_VALIDATION_FAILED"
    assert problem.hint == "Train on its base: --model ann/base."


@pytest.mark.parametrize("inside", [True, False])
def test_gguf_files_are_for_running(tmp_path: Path, inside: bool) -> None:
    file = tmp_path / "model-q4_k_m.gguf"
    file.write_bytes(b"GGUF")
    problem = problem_of(tmp_path if inside else file)
    assert problem.code == "INPUT_VALIDATION_FAILED"
    assert "GGUF" in problem.message
    assert "made from" in problem.hint


def test_a_file_of_a_model_leads_to_its_directory(tiny: Path) -> None:
    problem = problem_of(tiny / "model.safetensors")
    assert problem.code == "INPUT_VALIDATION_FAILED"
    assert problem.hint == f"Give its directory: --model {tiny}"


def test_a_misspelt_directory_is_told_with_the_nearest(tiny: Path) -> None:
    problem = problem_of(tiny.with_name("tinny"))
    assert problem.code == "INPUT_MODEL_NOT_FOUND"
    assert f"Did you mean {tiny}?" in problem.message


@pytest.mark.parametrize("name", ["", "./none", "none/of/these", "C:\\models\\none", "x" * 5000, "~nobody-here/x"])
def test_a_name_that_can_be_nothing_is_refused_without_a_request(name: str) -> None:
    problem = problem_of(name)
    assert problem.code == "INPUT_MODEL_NOT_FOUND"
    assert len(problem.message) < 400
    assert "--model" in hint_for(problem)


@pytest.mark.parametrize("name", ["x" * 5000, "~nobody-here/x"])
def test_a_data_set_that_can_be_nothing_is_refused_without_a_request(name: str) -> None:
    with pytest.raises(BackpropError) as told:
        open_source(name, DataSettings(), flag="--data")
    assert told.value.problems[0].code == "INPUT_DATASET_NOT_FOUND"


def test_quantized_weights_are_counted_by_the_configuration(model: Path, tiny: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "bitsandbytes"}}))
    facts = facts_of(model)
    assert facts.is_quantized
    assert facts.num_parameters == facts_of(tiny).num_parameters


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\n---\n# Model\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: qwen-research\nlicense_link: LICENSE\n---\n", "qwen-research"),
        ("---\nlicense: 'llama3.1'\ntags:\n- x\n---\n", "llama3.1"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nlicense: mit", ""),
        ("# Model\n\n---\nlicense: mit\n---\n", ""),
        ("# No metadata", ""),
    ],
)
def test_the_licence_is_what_the_cards_metadata_says(card: str, licence: str, model: Path) -> None:
    (model / "README.md").write_text(card, encoding="utf-8")
    assert facts_of(model).licence == licence


def test_without_a_card_nothing_is_said_of_a_licence(model: Path) -> None:
    assert facts_of(model).licence == ""
