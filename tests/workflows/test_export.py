"""``backprop export`` on tiny models: what is written, what loads it, and what is refused before it is written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from threadpoolctl import threadpool_info, threadpool_limits
from transformers import AutoModelForCausalLM, AutoTokenizer

from backprop.effects.export import staging, weights
from backprop.effects.export.tensors import MergedTensor
from backprop.effects.files.atomic import PARTIAL, replace_directory
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.events import Event, Written
from backprop.plan.settings.verbs.export import ExportFormat, ExportSettings
from backprop.plan.wire.outcome import Outcome
from backprop.workflows.export import run
from backprop.workflows.request import Request
from tests.effects.export.peft_models import logits_of, make_adapter, make_model, merged_by_peft

MERGED = {"format": ExportFormat.MERGED}
EVERYWHERE: dict[str, Any] = {"target_modules": "all-linear"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base"), dtype="bfloat16", shard_size="40KB")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    return make_adapter(base, tmp_path / "adapter", **EVERYWHERE)


def exported(path: Path | str, **fields: Any) -> Outcome:
    return run(Request(attrs.evolve(ExportSettings(path=str(path)), **fields)))


def problem_of(path: Path | str, **fields: Any) -> Problem:
    """The first problem, from a refusal or an error on the way."""
    try:
        outcome = exported(path, **fields)
    except BackpropError as error:
        return error.problems[0]
    assert outcome.report is None, "nothing was written"
    return outcome.problems[0]


def tensors_of(directory: Path) -> dict[str, torch.Tensor]:
    found = {}
    for file in directory.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            found.update({name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118 (no mapping)
    return found


def leftovers(directory: Path) -> list[str]:
    return [path.name for path in directory.rglob("*") if path.name.startswith(PARTIAL)]


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_merged_model_has_the_bases_files_and_types_and_the_adapters_weights(base: Path, adapter: Path) -> None:
    report = exported(adapter, **MERGED).report
    out = Path(report.output)
    assert out == adapter / "merged"
    before, after, theirs = tensors_of(base), tensors_of(out), merged_by_peft(base, adapter)
    assert after.keys() == before.keys()
    for name, tensor in after.items():
        assert (tensor.dtype, tensor.shape) == (before[name].dtype, before[name].shape)
        if "proj" not in name:
            assert torch.equal(tensor, before[name])
        else:
            # PEFT rounds B·A before it adds it, which may end a unit in the last place elsewhere.
            assert torch.allclose(tensor.float(), theirs[name].float(), atol=0, rtol=2**-6)
            assert not torch.equal(tensor, before[name])
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"):
        assert (out / name).read_bytes() == (base / name).read_bytes()
    assert sorted(p.name for p in out.glob("*.safetensors")) == sorted(p.name for p in base.glob("*.safetensors"))
    assert [check.name for check in report.checks] == ["tensors, shapes and types", "values of sampled rows"]
    assert leftovers(adapter) == []


def test_a_merged_model_says_what_its_base_says_with_the_adapter(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base")
    kinds: tuple[dict[str, Any], ...] = (
        {"target_modules": ["embed_tokens", "q_proj"]},
        {"modules_to_save": ["lm_head"]},
    )
    for number, config in enumerate(kinds):
        adapter = make_adapter(base, tmp_path / f"adapter{number}", **config)
        report = exported(adapter, **MERGED).report
        wanted = logits_of(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter)))
        found = logits_of(AutoModelForCausalLM.from_pretrained(report.output))
        assert torch.allclose(found, wanted, atol=1e-5)
        assert report.untied
        assert json.loads(Path(report.output, "config.json").read_text())["tie_word_embeddings"] is False
        assert AutoTokenizer.from_pretrained(report.output).chat_template


def test_a_converted_pissa_adapter_is_merged_and_a_raw_one_refused(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = make_model(tmp_path / "base", tie_word_embeddings=False)
    loaded = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=4, target_modules=["q_proj"], init_lora_weights="pissa")
    model = get_peft_model(loaded, config)
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "start")
    model.peft_config["default"].init_lora_weights = "pissa"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    wanted = logits_of(model)
    model.save_pretrained(tmp_path / "raw")
    model.save_pretrained(tmp_path / "plain", path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    report = exported(tmp_path / "plain", **MERGED).report
    assert torch.allclose(logits_of(AutoModelForCausalLM.from_pretrained(report.output)), wanted, atol=1e-4)
    refused = problem_of(tmp_path / "raw", **MERGED)
    assert (refused.code, "pissa" in refused.message) == ("INPUT_ADAPTER_INVALID", True)


def test_a_lora_export_is_a_clean_directory_that_plain_peft_loads(base: Path, adapter: Path, tmp_path: Path) -> None:
    (adapter / "optimizer.pt").write_bytes(b"state")
    (adapter / "checkpoint-3").mkdir()
    out = Path(exported(adapter, output=str(tmp_path / "clean")).report.output)
    files = {"adapter_config.json", "adapter_model.safetensors", "README.md", "export.json"}
    assert {path.name for path in out.iterdir()} == files
    model = AutoModelForCausalLM.from_pretrained(base)
    assert torch.equal(
        logits_of(PeftModel.from_pretrained(model, str(out))),
        logits_of(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(adapter))),
    )


def test_without_card_and_verification_neither_is_there(adapter: Path) -> None:
    report = exported(adapter, **MERGED, verify=False, model_card=False).report
    assert not Path(report.output, "README.md").exists()
    assert [check.name for check in report.checks] == ["tensors, shapes and types"]


def test_the_adapters_own_tokenizer_and_template_go_along(base: Path, adapter: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, adapter / name)
    (adapter / "chat_template.jinja").write_text("{{ messages }}")
    for format in (ExportFormat.MERGED, ExportFormat.LORA):
        out = exported(adapter, format=format).report.output
        assert Path(out, "chat_template.jinja").read_text() == "{{ messages }}"


def test_of_two_tokenizers_none_is_made(base: Path, adapter: Path) -> None:
    own = json.loads((base / "tokenizer_config.json").read_text())
    (adapter / "tokenizer_config.json").write_text(json.dumps({**own, "chat_template": "{{ 'mine' }}"}))
    shutil.copy(base / "tokenizer.json", adapter / "tokenizer.json")
    assert (base / "chat_template.jinja").is_file()
    out = exported(adapter, **MERGED).report.output
    assert not Path(out, "chat_template.jinja").exists()
    assert AutoTokenizer.from_pretrained(out).chat_template == "{{ 'mine' }}"


def test_a_model_that_brings_its_own_code_keeps_it(base: Path, tmp_path: Path) -> None:
    twin = Path(shutil.copytree(base, tmp_path / "twin"))
    for name in ("modeling_own.py", "parts.py", "vocab.txt"):
        (twin / name).write_text("x = 1\n")
    out = Path(exported(twin, **MERGED).report.output)
    assert {path.name for path in out.iterdir()} & {"modeling_own.py", "parts.py", "vocab.txt"} == {"vocab.txt"}
    edit(twin / "config.json", auto_map={"AutoModelForCausalLM": "modeling_own.Own"})
    out = Path(exported(twin, **MERGED).report.output)
    assert {"modeling_own.py", "parts.py", "vocab.txt"} <= {path.name for path in out.iterdir()}


def test_a_second_export_replaces_the_first_and_nothing_else_is_replaced(adapter: Path, base: Path) -> None:
    out = adapter / "merged"
    first = exported(adapter, **MERGED).report
    (out / "stale").touch()
    assert [file.path for file in exported(adapter, **MERGED).report.files] == [file.path for file in first.files]
    (out / "export.json").unlink()
    for place in (out, adapter, base, adapter.parent):
        problem = problem_of(adapter, **MERGED, output=str(place))
        assert (problem.code, problem.where) == ("INPUT_VALIDATION_FAILED", "--output")
    assert (out / "config.json").is_file()


def test_an_export_of_another_format_is_not_replaced(adapter: Path) -> None:
    out = exported(adapter, **MERGED).report.output
    before = tensors_of(Path(out))
    problem = problem_of(adapter, output=out)
    assert (problem.code, "another format, merged" in problem.message) == ("INPUT_VALIDATION_FAILED", True)
    assert tensors_of(Path(out)).keys() == before.keys()


def test_progress_is_told_up_to_the_last_byte(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_SYNCED_BYTES", 1)  # the disk is waited for after every tensor
    told: list[Event] = []
    run(Request(ExportSettings(path=str(adapter), **MERGED), emit=told.append))  # type: ignore[arg-type]
    last = [event for event in told if isinstance(event, Written)][-1]
    assert last.done_bytes == last.total_bytes > 0


@pytest.mark.parametrize("fields", [MERGED, {"format": ExportFormat.GGUF, "verify": False}])
def test_matrix_products_take_one_thread_each_while_ours_fill_the_cores(fields: dict[str, Any], adapter: Path) -> None:
    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):
        during: list[list[int]] = []
        settings = attrs.evolve(ExportSettings(path=str(adapter)), **fields)
        run(Request(settings, emit=lambda event: during.append(threads()) if isinstance(event, Written) else None))
        assert {number for numbers in during for number in numbers} == {1}
        assert set(threads()) == {2}


def test_an_adapter_of_another_base_is_refused(adapter: Path, tmp_path: Path) -> None:
    wide = make_model(tmp_path / "wide", hidden_size=64)
    shallow = make_model(tmp_path / "shallow", num_hidden_layers=1)
    for other in (wide, shallow):
        problem = problem_of(adapter, **MERGED, base=str(other))
        assert problem.code == "INPUT_ADAPTER_MISMATCH"
        assert str(other) in problem.message
    assert not (adapter / "merged").exists()


def test_another_base_of_the_same_shape_is_warned_of_with_both_names(adapter: Path, base: Path, tmp_path: Path) -> None:
    twin = Path(shutil.copytree(base, tmp_path / "twin"))
    (warned,) = exported(adapter, **MERGED, base=str(twin)).problems
    assert warned.code == "INPUT_ADAPTER_MISMATCH"
    assert str(twin) in warned.message
    assert str(base) in warned.message


def test_missing_and_damaged_files_are_named_and_nothing_is_written(adapter: Path, base: Path, tmp_path: Path) -> None:
    twin = Path(shutil.copytree(base, tmp_path / "twin"))
    edit(adapter / "adapter_config.json", base_model_name_or_path=str(twin))
    shard = sorted(twin.glob("*.safetensors"))[1]
    content = shard.read_bytes()
    shard.write_bytes(content[:-10])
    short = problem_of(adapter, **MERGED)
    assert (short.code, shard.name in short.message) == ("DEP_MODEL_LOAD_FAILED", True)
    shard.unlink()
    missing = problem_of(adapter, **MERGED)
    assert (missing.code, shard.name in missing.message) == ("DEP_MODEL_LOAD_FAILED", True)
    (adapter / "adapter_model.safetensors").write_bytes(b"short")
    assert problem_of(adapter, **MERGED).code == "INPUT_ADAPTER_INVALID"
    (adapter / "adapter_model.safetensors").unlink()
    assert problem_of(adapter).code == "INPUT_VALIDATION_FAILED"
    assert not (adapter / "merged").exists()


def poison(directory: Path, part: str, value: float = np.nan) -> str:
    """Put a number that is not finite into the first tensor whose name contains ``part``; its name."""
    for file in sorted(directory.glob("*.safetensors")):
        raw = bytearray(file.read_bytes())
        length = int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8 : 8 + length]).items():
            if part in name:
                kind = np.uint16 if entry["dtype"] == "BF16" else np.uint32
                bits = np.float32(value).view(np.uint32) >> (16 if entry["dtype"] == "BF16" else 0)
                begin = 8 + length + entry["data_offsets"][0]
                raw[begin : begin + np.dtype(kind).itemsize] = kind(bits).tobytes()
                file.write_bytes(raw)
                return str(name)
    raise AssertionError(part)


@pytest.mark.parametrize("part", ["q_proj", "norm"])
def test_a_base_that_is_not_finite_leaves_nothing_behind(part: str, adapter: Path, base: Path, tmp_path: Path) -> None:
    twin = Path(shutil.copytree(base, tmp_path / "twin"))
    edit(adapter / "adapter_config.json", base_model_name_or_path=str(twin))
    name = poison(twin, part)
    problem = problem_of(adapter, **MERGED)
    assert (problem.code, name in problem.message) == ("INPUT_MODEL_INVALID", True)
    assert not (adapter / "merged").exists()
    assert leftovers(tmp_path) == []


def test_an_adapter_that_is_not_finite_is_refused_and_one_that_overflows_too(adapter: Path) -> None:
    exported(adapter, **MERGED)
    before = {path.name: path.read_bytes() for path in (adapter / "merged").iterdir()}
    name = poison(adapter, "lora_B", np.inf)
    for fields in (MERGED, {}, {"format": ExportFormat.OLLAMA_ADAPTER, "register": False}):
        problem = problem_of(adapter, **fields)
        assert (problem.code, name in problem.message) == ("INPUT_ADAPTER_INVALID", True)
    poison(adapter, "lora_B", 3e38)
    poison(adapter, "lora_A", 3e38)
    assert problem_of(adapter, **MERGED).code == "RUNTIME_MERGE_EXPORT_FAILED"
    assert {path.name: path.read_bytes() for path in (adapter / "merged").iterdir()} == before
    assert leftovers(adapter) == []


@pytest.mark.parametrize("fields", [{}, {"format": ExportFormat.OLLAMA_ADAPTER, "register": False}])
def test_an_adapter_that_peft_could_not_load_is_not_handed_on(fields: dict[str, Any], adapter: Path) -> None:
    edit(adapter / "adapter_config.json", r=3)
    problem = problem_of(adapter, **fields)
    assert (problem.code, "says rank 3" in problem.message) == ("INPUT_ADAPTER_INVALID", True)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"hub_token": "hf_secretsecret", "hub_token_file": "f", "push": "a/b"}, "--hub-token"),
        ({"format": ExportFormat.OLLAMA_ADAPTER}, "--base-model"),
        ({"format": ExportFormat.OLLAMA_ADAPTER, "base_model": "m", "push": "a/b"}, "--push"),
    ],
)
def test_flags_that_clash_are_refused(fields: dict[str, Any], where: str, adapter: Path) -> None:
    problem = problem_of(adapter, **fields)
    assert (problem.code, problem.where) == ("INPUT_VALIDATION_FAILED", where)
    assert exported(adapter, **fields).exit_code == 1
    assert "secret" not in str(problem)


def test_flags_without_effect_are_told(adapter: Path) -> None:
    fields = {"ollama": True, "base_model": "m", "adapter_tag": "t", "hub_token": "hf_secretsecret", "base": "b"}
    problems = exported(adapter, **fields).problems
    assert {problem.where for problem in problems} >= {"--base-model", "--adapter-tag", "--hub-token", "--base"}


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path, "no-such-run"):
        problem = problem_of(path, run_dir=str(tmp_path))
        assert (problem.code, problem.where) == ("INPUT_VALIDATION_FAILED", "PATH")
    assert problem.message.startswith("no-such-run is no directory. There is no run")
    assert "--run-dir" in problem.hint


def test_a_whole_model_is_copied_as_merged_and_is_no_adapter(base: Path, tmp_path: Path) -> None:
    assert problem_of(base).where == "--format"
    out = Path(exported(base, **MERGED, output=str(tmp_path / "out")).report.output)
    for name, tensor in tensors_of(base).items():
        assert torch.equal(tensors_of(out)[name], tensor)


def test_memory_that_runs_out_leaves_nothing_behind(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(MergedTensor, "rows", short)
    assert problem_of(adapter, **MERGED).code == "RUNTIME_EXPORT_FAILED"
    assert not (adapter / "merged").exists()
    assert leftovers(adapter) == []


def test_a_killed_export_leaves_nothing_that_the_next_one_does_not_clear(adapter: Path) -> None:
    aside = adapter / f"{PARTIAL}merged"
    (aside / "sub").mkdir(parents=True)
    (aside / "model.safetensors").write_bytes(b"half")
    assert exported(adapter, **MERGED).exit_code == 0
    assert leftovers(adapter) == []


def test_a_link_as_output_is_followed_and_stays(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "large-disk").mkdir()
    link = tmp_path / "out"
    link.symlink_to(tmp_path / "large-disk")
    for _ in range(2):
        assert exported(adapter, **MERGED, output=str(link)).report.output == str(link)
    assert link.is_symlink()
    assert (tmp_path / "large-disk" / "config.json").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"adapter", "large-disk", "out"}


def test_the_working_directory_is_not_replaced(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for output in (".", "../here"):
        assert problem_of(adapter, **MERGED, output=output).code == "INPUT_VALIDATION_FAILED"


def test_a_second_export_is_refused_until_the_first_has_its_name(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"format": ExportFormat.LORA, "output": str(tmp_path / "out")}
    refused: list[Problem] = []

    def rename(aside: Path, final: Path) -> None:
        monkeypatch.setattr(staging, "replace_directory", replace_directory)
        refused.append(problem_of(adapter, **other))
        replace_directory(aside, final)

    monkeypatch.setattr(staging, "replace_directory", rename)
    exported(adapter, **MERGED, output=str(tmp_path / "out"))
    assert [problem.code for problem in refused] == ["STATE_RUN_ACTIVE"]
    assert (tmp_path / "out" / "model.safetensors.index.json").is_file()
    assert not (tmp_path / "out" / ".lock").exists()


def test_an_export_that_cannot_get_its_name_leaves_nothing(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Path) -> None:
        raise BackpropError(Problem("RUNTIME_WRITE_FAILED", "no"))

    monkeypatch.setattr(staging, "replace_directory", refuse)
    assert problem_of(adapter, **MERGED).code == "RUNTIME_WRITE_FAILED"
    assert leftovers(adapter) == []


def test_no_torch_is_loaded(adapter: Path) -> None:
    code = f"""
import sys
from backprop.cli.main import main
assert main(["export", {str(adapter)!r}, "-f", "merged"]) == 0
assert not {{"torch", "transformers", "peft", "safetensors"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
