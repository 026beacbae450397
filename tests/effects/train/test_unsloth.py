"""Unsloth loads the model when the plan says so; a failure is told, and the run goes on without it.

It needs a card, so a package of its name stands in for it here, which loads with transformers and PEFT.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from backprop.plan.decision import Decision
from backprop.plan.events import Warned
from backprop.plan.training.plan import TrainPlan
from tests.effects.train.runs import make_plan, make_rows, run

ROWS = make_rows(20)


@pytest.fixture
def stand_in() -> Iterator[ModuleType]:
    """A package called unsloth."""
    module = ModuleType("unsloth")
    sys.modules["unsloth"] = module
    yield module
    del sys.modules["unsloth"]


def with_unsloth(model_dir: Path, **training: Any) -> TrainPlan:
    return attrs.evolve(make_plan(model_dir, ROWS, training=training), unsloth=Decision(True, "installed", ""))


class Loader:
    """Takes what Unsloth's loader takes."""

    asked: tuple[str, ...] = ()

    @classmethod
    def from_pretrained(
        cls, model_name: str, max_seq_length: int, dtype: Any, load_in_4bit: bool, trust_remote_code: bool
    ) -> tuple[Any, None]:
        cls.asked = (model_name, str(dtype))
        assert max_seq_length > 0
        assert not load_in_4bit
        assert not trust_remote_code
        return AutoModelForCausalLM.from_pretrained(model_name, dtype=dtype), None

    @staticmethod
    def get_peft_model(model: Any, *, random_state: int, use_gradient_checkpointing: bool, **lora: Any) -> Any:
        assert random_state >= 0
        assert not use_gradient_checkpointing
        return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora))


def test_the_model_is_loaded_by_unsloth_and_trained_as_any_other(
    model_dir: Path, tmp_path: Path, stand_in: ModuleType
) -> None:
    stand_in.FastLanguageModel = Loader  # type: ignore[attr-defined]
    done = run(with_unsloth(model_dir, max_steps=4, learning_rate=1e-2, logging_steps=1), ROWS, tmp_path)
    assert Loader.asked == (str(model_dir), "torch.float32")
    assert done.result.last_step == 4
    assert not [e for e in done.events if isinstance(e, Warned)]


def test_when_unsloth_fails_transformers_loads_the_model_and_that_is_told(
    model_dir: Path, tmp_path: Path, stand_in: ModuleType
) -> None:
    del stand_in
    expected = run(make_plan(model_dir, ROWS), ROWS, tmp_path / "without")
    done = run(with_unsloth(model_dir), ROWS, tmp_path / "with")
    (told,) = (e for e in done.events if isinstance(e, Warned))
    assert told.code == "DEP_UNSLOTH_FAILED"
    assert "FastLanguageModel" in told.message
    assert done.losses == expected.losses


def test_the_executor_does_not_import_unsloth_by_itself() -> None:
    watched = (
        "import sys, importlib.abc\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        assert name.split('.')[0] != 'unsloth', 'imported'\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import backprop.effects.train.session\n"
        "assert 'unsloth' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", watched], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
