"""Generation from real, tiny models."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from backprop.plan.errors import BackpropError
from backprop.plan.settings.verbs.generate import GenerateSettings
from backprop.plan.wire.outcome import Outcome
from backprop.workflows.generate import run
from backprop.workflows.request import Request
from tests.tiny import make_tiny_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes what the model says."""
    output = tmp_path_factory.mktemp("output")
    base = AutoModelForCausalLM.from_pretrained(tiny)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=400, target_modules=["q_proj", "down_proj"], init_lora_weights=False
    )
    get_peft_model(base, config).save_pretrained(output / "lora")
    return output


def generated(target: Path, prompt: str = "Hi", **fields: object) -> Outcome:
    settings = GenerateSettings(adapter_path=str(target), prompt=prompt, max_new_tokens=8)
    return run(Request(attrs.evolve(settings, **fields)))  # type: ignore[arg-type]


def texts(outcome: Outcome) -> list[str]:
    return [completion.text for completion in outcome.report.completions]


def test_the_same_seed_gives_the_same_completions_however_many_are_asked_for(tiny: Path) -> None:
    three = texts(generated(tiny, num=3))
    assert texts(generated(tiny, num=1)) == three[:1]
    assert texts(generated(tiny, num=3)) == three
    assert texts(generated(tiny, num=3, seed=1)) != three


def test_an_output_directory_leads_to_its_adapter_and_the_adapter_to_its_base(tiny: Path, adapter: Path) -> None:
    outcome = generated(adapter, temperature=0.0, raw=True)
    assert outcome.exit_code == 0
    assert outcome.report.adapter == str(adapter / "lora")
    assert texts(outcome) != texts(generated(tiny, temperature=0.0, raw=True))


def test_the_chat_template_is_applied_unless_raw(tiny: Path) -> None:
    assert generated(tiny).report.rendered_prompt == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert generated(tiny, raw=True).report.rendered_prompt == "Hi"


def test_an_adapter_that_does_not_fit_its_base_is_refused(adapter: Path, tmp_path: Path) -> None:
    for shape in ({"layers": 3}, {"layers": 1}, {"hidden": 64}):
        other = make_tiny_model(tmp_path / "-".join(f"{k}{v}" for k, v in shape.items()), **shape)
        with pytest.raises(BackpropError) as error:
            generated(adapter, base=str(other))
        assert error.value.problems[0].code == "DEP_MODEL_LOAD_FAILED"
        assert "another shape" in error.value.problems[0].message


def test_a_prompt_that_does_not_fit_the_context_is_refused(tiny: Path) -> None:
    outcome = generated(tiny, "x" * 600)
    assert (outcome.exit_code, outcome.problems[0].code) == (1, "INPUT_VALIDATION_FAILED")
    assert generated(tiny, "").problems[0].code == "INPUT_VALIDATION_FAILED"


def test_a_dash_reads_the_prompt_from_standard_input(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO("Grüße\n".encode())))
    assert generated(tiny, "-").report.prompt == "Grüße"


def test_user_errors_are_found_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "orphan").mkdir()
    (tmp_path / "orphan" / "adapter_config.json").write_text("{}")
    (tmp_path / "orphan" / "adapter_model.safetensors").touch()
    code = f"""
import sys
from backprop.plan.settings.verbs.generate import GenerateSettings
from backprop.workflows.generate import run
from backprop.workflows.request import Request
for path in ("missing", "file", "orphan", "."):
    outcome = run(Request(GenerateSettings(adapter_path={str(tmp_path)!r} + "/" + path, prompt="x")))
    assert (outcome.exit_code, outcome.problems[0].code) == (1, "INPUT_VALIDATION_FAILED"), outcome
assert not {{"torch", "transformers", "peft"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
