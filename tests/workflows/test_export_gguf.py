"""``backprop export --format gguf`` on small models: what is written and proved, and what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import attrs
import gguf
import pytest
from safetensors.numpy import load_file, save_file

from backprop.effects.export import gguf_format, gguf_verify
from backprop.effects.export.llama_server import LlamaCpp
from backprop.effects.export.quantizers import Quantizer, find_quantizer
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.settings.verbs.export import ExportFormat, ExportSettings, Quantization
from backprop.plan.wire.outcome import Outcome
from backprop.workflows.export import run
from backprop.workflows.request import Request
from tests.effects.export.peft_models import make_adapter
from tests.gguf_models import make_family_model
from tests.tiny import CHATML


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_family_model(tmp_path_factory.mktemp("base") / "qwen2-tiny", "qwen2-tied")


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    return make_adapter(base, tmp_path / "adapter", target_modules=["q_proj", "down_proj"])


@pytest.fixture
def mamba(base: Path, tmp_path: Path) -> Path:
    """A model of a family that nobody here has heard of."""
    directory = shutil.copytree(base, tmp_path / "mamba")
    edit(directory / "config.json", model_type="mamba")
    return directory


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def exported(path: Path, quantization: str = "q8_0", **fields: Any) -> Outcome:
    given = {"format": ExportFormat.GGUF, "quantization": Quantization(quantization), **fields}
    return run(Request(attrs.evolve(ExportSettings(path=str(path)), **given)))


def problem_of(path: Path, **fields: Any) -> Problem:
    """The first problem, from a refusal or an error on the way; nothing is left of the export."""
    try:
        outcome = exported(path, **fields)
    except BackpropError as error:
        found = error.problems[0]
    else:
        assert outcome.report is None, "nothing was written"
        found = outcome.problems[0]
    assert not (path / "gguf").exists()
    assert not list(path.glob(".partial-*"))
    return found


def clone(tmp_path: Path, converter: str) -> str:
    """A clone of llama.cpp with just this converter."""
    root = tmp_path / "llama.cpp"
    root.mkdir()
    (root / "convert_hf_to_gguf.py").write_text(converter)
    return str(root)


def quantizing(root: str, script: str) -> None:
    program = Path(root) / "build" / "bin" / "llama-quantize"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable}\n{script}")
    program.chmod(0o755)


COPY = "import shutil, sys\nshutil.copy(sys.argv[1], sys.argv[2])"


def test_an_adapter_becomes_one_file_that_is_proved(adapter: Path) -> None:
    pytest.importorskip("xllamacpp")
    report = exported(adapter).report
    (file,) = Path(report.output).glob("*.gguf")
    assert file.name == "adapter-q8_0.gguf"
    checks = {check.name: check.result for check in report.checks}
    assert "rows" in checks["values of sampled rows"]
    assert checks["tokens of prompts"].startswith("3 of 3")
    assert checks["chat template"].startswith("3 of 3")
    assert "cosine 0.99" in checks["next tokens in llama.cpp"]
    fields = gguf.GGUFReader(file).fields
    assert fields["tokenizer.chat_template"].contents() == CHATML
    assert fields["general.name"].contents() == "qwen2-tiny"


def test_files_of_several_quantizations_stand_side_by_side(adapter: Path) -> None:
    first = Path(exported(adapter, verify=False).report.output)
    before = (first / "adapter-q8_0.gguf").read_bytes()
    report = exported(adapter, "q4_0", verify=False).report
    assert [Path(file.path).suffix for file in report.files].count(".gguf") == 1
    assert report.num_bytes < len(before)
    assert {file.name for file in first.glob("*.gguf")} == {"adapter-q8_0.gguf", "adapter-q4_0.gguf"}
    assert (first / "adapter-q8_0.gguf").read_bytes() == before


def test_files_of_another_adapter_are_neither_replaced_nor_mixed(adapter: Path, base: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    exported(adapter, output=out, verify=False)
    other = make_adapter(base, tmp_path / "other", target_modules=["q_proj"])
    problem = problem_of(other, quantization="q4_0", output=out)
    assert (problem.code, problem.where) == ("INPUT_VALIDATION_FAILED", "--output")
    assert "out-q8_0.gguf" in problem.message
    assert exported(other, "q8_0", output=out, verify=False).report is not None, "the same file may be made anew"


def test_an_adapter_that_is_not_finite_is_blamed_and_not_its_base(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    name = sorted(weights)[0]
    weights[name][0, 0] = float("nan")
    save_file(weights, adapter / "adapter_model.safetensors")
    problem = problem_of(adapter)
    assert (problem.code, name in problem.message) == ("INPUT_ADAPTER_INVALID", True)


def test_without_verification_the_file_is_still_read_back(adapter: Path) -> None:
    checks = exported(adapter, verify=False).report.checks
    assert [check.name for check in checks] == ["metadata and tensors"]


def test_without_llama_cpp_the_report_says_what_was_not_looked_at(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_verify, "is_available", lambda: False)
    assert "pip install xllamacpp" in exported(adapter).report.checks[-1].result


def test_a_file_that_computes_something_else_is_not_kept(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xllamacpp")
    true = gguf_verify._reference_logits
    monkeypatch.setattr(
        gguf_verify,
        "_reference_logits",
        lambda *args: [-logits for logits in true(*args) if not isinstance(logits, str)],
    )
    problem = problem_of(adapter)
    assert problem.code == "RUNTIME_GGUF_EXPORT_FAILED"
    assert "computes something else" in problem.message


def test_a_model_that_torch_cannot_compute_is_exported_and_not_compared(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")

    def fail(*_: object) -> None:
        raise RuntimeError("can't allocate memory: you tried to allocate 99 bytes\nat line 7")

    monkeypatch.setattr(gguf_verify, "_torch_logits", fail)
    checks = {check.name: check.result for check in exported(adapter).report.checks}
    told = checks["next tokens in llama.cpp"]
    assert told.startswith("not compared: transformers and PEFT cannot compute it: can't allocate memory")
    assert "line 7" not in told


def refusing(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp refuses one kind of question."""
    ask = LlamaCpp._ask

    def answer(server: LlamaCpp, asked: str, body: Any) -> Any:
        if asked == path:
            raise OSError("llama.cpp answered 500: no")
        return ask(server, asked, body)

    monkeypatch.setattr(LlamaCpp, "_ask", answer)


def test_a_template_that_llama_cpp_refuses_is_a_warning(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xllamacpp")
    refusing("/apply-template", monkeypatch)
    outcome = exported(adapter)
    assert outcome.report is not None
    assert ["otherwise than the training template" in problem.message for problem in outcome.problems] == [True]


def test_a_file_that_llama_cpp_cannot_use_is_not_kept_unless_nothing_is_verified(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    refusing("/completion", monkeypatch)
    problem = problem_of(adapter)
    assert (problem.code, "answered 500" in problem.message) == ("RUNTIME_GGUF_EXPORT_FAILED", True)
    assert "--no-verify" in problem.hint
    assert exported(adapter, verify=False).report is not None


def test_a_family_outside_the_table_is_refused_before_any_work(mamba: Path) -> None:
    problem = problem_of(mamba)
    assert problem.code == "INPUT_EXPORT_UNSUPPORTED"
    assert "BACKPROPAGATE_LLAMA_CPP_PATH" in problem.hint


def test_a_family_outside_the_table_is_left_to_llama_cpps_converter(mamba: Path, tmp_path: Path) -> None:
    root = clone(
        tmp_path,
        "import pathlib, sys\nmodel = pathlib.Path(sys.argv[1])\nassert (model / 'model.safetensors').is_file()\n"
        "pathlib.Path(sys.argv[3]).write_text((model / 'config.json').read_text())",
    )
    report = exported(mamba, "f16", llama_cpp_path=root, verify=False).report
    (file,) = Path(report.output).glob("*.gguf")
    assert json.loads(file.read_text())["model_type"] == "mamba"
    assert {Path(f.path).name for f in report.files} == {file.name, "README.md", "export.json"}


def test_what_the_converter_made_is_quantized(mamba: Path, tmp_path: Path) -> None:
    root = clone(tmp_path, "import sys\nopen(sys.argv[3], 'w').write('made')")
    quantizing(root, COPY)
    report = exported(mamba, "q4_k_m", llama_cpp_path=root, verify=False).report
    assert [path.read_text() for path in Path(report.output).glob("*.gguf")] == ["made"]


def test_a_converter_that_fails_leaves_nothing(mamba: Path, tmp_path: Path) -> None:
    root = clone(tmp_path, "raise SystemExit('Model MambaForCausalLM is not supported')")
    problem = problem_of(mamba, llama_cpp_path=root, quantization="f16")
    assert problem.code == "RUNTIME_GGUF_EXPORT_FAILED"
    assert "MambaForCausalLM is not supported" in problem.message


def without_k_quants(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Quantizer(find_quantizer(None).quantize, "numpy", has_k_quants=False)
    monkeypatch.setattr(gguf_format, "find_quantizer", lambda _: alone)


def test_k_quants_without_their_routine_are_refused_before_any_work(
    adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_k_quants(monkeypatch)
    monkeypatch.setenv("PATH", "")
    problem = problem_of(adapter, quantization="q4_k_m")
    assert problem.code == "DEP_PACKAGE_MISSING"
    assert "pip install libggml-python" in problem.hint


def test_k_quants_can_be_left_to_llama_quantize(adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_k_quants(monkeypatch)
    root = clone(tmp_path, "")
    quantizing(root, COPY)
    monkeypatch.setattr(gguf_verify, "is_available", lambda: False)
    report = exported(adapter, "q4_k_m", llama_cpp_path=root).report
    assert report.checks[0].name == "values of sampled rows"
    (file,) = Path(report.output).glob("*.gguf")
    assert gguf.GGUFReader(file).fields["general.file_type"].contents() == 1


def test_room_is_asked_for_all_that_stands_on_the_disk_at_once(
    adapter: Path, mamba: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def note(*_: Any, num_bytes: int, **__: Any) -> tuple[Problem, ...]:
        asked.append(num_bytes)
        return ()

    monkeypatch.setattr(gguf_format, "check_output", note)
    root = clone(tmp_path, "open(__import__('sys').argv[3], 'w').write('made')")
    quantizing(root, COPY)
    for quantization in ("q4_k_m", "f16"):
        exported(adapter, quantization, verify=False)
    without_k_quants(monkeypatch)
    exported(adapter, "q4_k_m", llama_cpp_path=root, verify=False)
    exported(mamba, "f16", llama_cpp_path=root, verify=False)
    small, plain, both, converted = asked
    assert small < plain
    assert both > plain + 0.9 * small
    assert converted > plain + (mamba / "model.safetensors").stat().st_size * 0.9


def test_a_tokenizer_without_its_like_in_llama_cpp_is_refused(base: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(base, tmp_path / "other")
    other = {"type": "Sequence", "pretokenizers": [{"type": "Punctuation", "behavior": "Isolated"}]}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    other["pretokenizers"].append(bytes_)  # type: ignore[attr-defined]
    edit(directory / "tokenizer.json", pre_tokenizer=other)
    problem = problem_of(directory)
    assert problem.code == "INPUT_EXPORT_UNSUPPORTED"
    assert "no name for" in problem.message


def test_a_damaged_tokenizer_is_refused(base: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(base, tmp_path / "other")
    (directory / "tokenizer.json").write_text("{")
    assert problem_of(directory).code == "DEP_MODEL_LOAD_FAILED"
