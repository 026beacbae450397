from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from backprop import BackpropError, Trainer
from tests.tiny import make_tiny_model, write_conversations


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_conversations(tmp_path / "rows.jsonl", rows=8)


def trainer(model: Path, output: Path, **more: Any) -> Trainer:
    small: dict[str, Any] = {
        "r": 4,
        "packing": False,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
    }
    return Trainer(model, output_dir=str(output), save_steps=4, **small, **more)


def test_a_run_tells_its_callbacks_and_returns_its_adapter(model: Path, data: Path, tmp_path: Path) -> None:
    told: list[tuple[str, Any]] = []
    names = ("on_step", "on_epoch", "on_save", "on_complete")
    callbacks = {name: (lambda value, name=name: told.append((name, value))) for name in names}
    report = trainer(model, tmp_path / "out", **callbacks).train(data, steps=8)
    assert report.adapter is not None
    assert (Path(report.adapter) / "adapter_model.safetensors").is_file()
    assert [value.step for name, value in told if name == "on_step"] == list(range(1, 9))
    assert [value for name, value in told if name == "on_epoch"] == [1, 2], "four steps see eight rows"
    assert [value.step for name, value in told if name == "on_save"] == [4, 8]
    assert told[-1] == ("on_complete", report)


def test_the_plan_is_that_of_the_run(model: Path, data: Path, tmp_path: Path) -> None:
    small = trainer(model, tmp_path / "out")
    plan = small.plan(data, steps=2)
    assert not (tmp_path / "out").exists()
    report = small.train(data, steps=2)
    assert report.plan == plan
    assert plan.length.steps.rule == "set by max_steps"
    assert small.resume(report.run_id, steps=4).steps_done == 4


def test_a_callback_that_raises_is_logged_and_training_goes_on(
    model: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise ValueError("mine")

    with caplog.at_level(logging.ERROR, logger="backprop"):
        report = trainer(model, tmp_path / "out", on_step=broken).train(data, steps=2)
    assert report.steps_done == 2
    assert "mine" in caplog.text


def test_warnings_reach_the_log_before_the_run_begins(
    model: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logged: list[str] = []
    done = trainer(model, tmp_path / "out", fp8=True, on_step=lambda _: logged.append(caplog.text)).train(data, steps=1)
    assert "[RUNTIME_FP8_UNSUPPORTED]" in logged[0]
    assert caplog.text.count("[RUNTIME_FP8_UNSUPPORTED]") == 1
    assert "plan" not in repr(done), "a report is read at a prompt, and a plan is pages long"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr", "learning_rate"),
        ("lora_r", "r"),
        ("lora_rank", "r"),
        ("batch_size", "per_device_train_batch_size"),
        ("grad_accum", "gradient_accumulation_steps"),
        ("epochs", "num_train_epochs"),
        ("learning_rat", "learning_rate"),
    ],
)
def test_a_setting_is_known_by_its_flag_as_well(model: Path, name: str, meant: str) -> None:
    asked: dict[str, Any] = {name: 1}
    with pytest.raises(BackpropError) as error:
        Trainer(model, **asked)
    assert error.value.problems[0].hint == f"Did you mean {meant}?"


def test_everything_wrong_with_the_settings_is_raised_at_once(model: Path) -> None:
    with pytest.raises(BackpropError) as error:
        Trainer(model, learning_rat=1e-4, max_steps=0)
    (unknown, bad) = error.value.problems
    assert (unknown.code, bad.code) == ("CONFIG_UNKNOWN_SETTING", "CONFIG_INVALID_SETTING")
    assert "learning_rate" in unknown.hint
    assert bad.where == "max_steps"


def test_a_refusal_reaches_on_error_and_the_caller(model: Path, tmp_path: Path) -> None:
    heard: list[BackpropError] = []
    with pytest.raises(BackpropError) as error:
        trainer(model, tmp_path / "out", on_error=heard.append).train(tmp_path / "none.jsonl")
    assert heard == [error.value]
    assert error.value.problems[0].code == "INPUT_DATASET_NOT_FOUND"


def test_what_was_trained_is_saved_and_exported(model: Path, data: Path, tmp_path: Path) -> None:
    small = trainer(model, tmp_path / "out")
    with pytest.raises(BackpropError, match="finished no run"):
        small.save(tmp_path / "early")
    report = small.train(data, steps=2)
    assert report.adapter is not None
    saved = Path(small.save(tmp_path / "saved").output)
    weights = "adapter_model.safetensors"
    assert (saved / weights).read_bytes() == Path(report.adapter, weights).read_bytes()
    merged = small.export("merged", output=tmp_path / "merged", model_card=False)
    assert {Path(file.path).name for file in merged.files} >= {"model.safetensors", "tokenizer.json"}
    with pytest.raises(BackpropError, match="no setting modelcard"):
        small.export(modelcard=False)
