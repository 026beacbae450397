"""The MLX rail, run with MLX's build for Linux processors, does what the torch rail does.

The planner is handed the facts of a Mac, on which alone it chooses this rail.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mlx.core", reason="mlx is not installed: pip install 'mlx[cpu]' mlx-lm")
pytest.importorskip("mlx_lm", reason="mlx-lm is not installed: pip install 'mlx[cpu]' mlx-lm")

import attrs
import mlx.core as mx
import numpy as np
import torch
from mlx_lm.models.llama import TransformerBlock
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from backprop.effects.mlx.learner import Learner
from backprop.effects.mlx.model import load_adapted, peft_weights, set_peft_weights
from backprop.effects.mlx.session import train
from backprop.effects.train.loading import add_adapter, load_base
from backprop.effects.train.task import TrainTask
from backprop.plan.errors import BackpropError
from backprop.plan.events import CheckpointSaved, Evaluated, Event, Step
from backprop.plan.settings.model import Dtype
from backprop.plan.settings.training import Optimizer
from backprop.plan.training.arguments import adapter_config
from backprop.plan.training.evaluation import EvaluationState
from backprop.plan.training.order import updates
from backprop.plan.training.plan import TrainPlan
from backprop.plan.training.rail import Rail
from tests.effects.train.runs import ListRows, Trained, make_plan, make_rows, run
from tests.plan.training.worlds import APPLE_MACHINE, INSTALLED, MLX_INSTALLED
from tests.tiny import make_tiny_model

ROWS, HELDOUT = make_rows(31), make_rows(9, seed=1)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"))


def on_a_mac(model_dir: Path, *, heldout: bool = False, **groups: Any) -> TrainPlan:
    groups["model"] = {"dtype": Dtype.FLOAT32}
    plan = make_plan(
        model_dir,
        ROWS,
        heldout=HELDOUT if heldout else None,
        machine=APPLE_MACHINE,
        packages=(*INSTALLED, *MLX_INSTALLED),
        **groups,
    )
    assert plan.rail.value is Rail.MLX
    return plan


def mlx_run(plan: TrainPlan, directory: Path, *, resume_from: Path | None = None) -> Trained:
    events: list[Event] = []
    directory.mkdir(parents=True, exist_ok=True)

    def commit(staged: Path, step: int) -> Path:
        events.append(CheckpointSaved(step, staged.name))
        return staged.rename(directory / staged.name)

    assert plan.model.directory is not None
    task = TrainTask(
        model_dir=plan.model.directory,
        staging_dir=directory / ".partial-checkpoint",
        rows=ListRows(ROWS),
        heldout=ListRows(HELDOUT) if plan.evaluation else None,
        resume_from=resume_from,
        evaluations=EvaluationState(),
        commit_checkpoint=commit,
    )
    return Trained(train(plan, task, emit=events.append), events, directory)


@pytest.mark.parametrize(("optim", "rate"), [("adamw_torch", 1e-2), ("sgd", 2.0)])
def test_from_the_same_weights_both_rails_have_the_same_losses_for_ten_steps(
    optim: str, rate: float, model_dir: Path, tmp_path: Path
) -> None:
    asked = {"max_steps": 10, "learning_rate": rate, "logging_steps": 1, "optim": Optimizer(optim)}
    groups: dict[str, Any] = {"training": asked, "data": {"packing": False}}
    on_torch = make_plan(model_dir, ROWS, **groups)
    expected = run(on_torch, ROWS, tmp_path / "torch")
    plan = on_a_mac(model_dir, **groups)
    assert plan.adapter is not None
    assert on_torch.adapter is not None
    fresh = add_adapter(on_torch.adapter, load_base(on_torch, str(model_dir)), base=plan.model)
    fresh.save_pretrained(tmp_path / "fresh")
    model = load_adapted(plan, str(model_dir))
    set_peft_weights(model, mx.load(str(tmp_path / "fresh" / "adapter_model.safetensors")))
    learner = Learner(plan, model, ListRows(ROWS))
    steps = [event for event in expected.events if isinstance(event, Step)]
    for step, update in enumerate(updates(plan, len(ROWS))):
        loss, norm = learner.update(step, update)
        assert loss == pytest.approx(steps[step].loss, abs=1e-3 if optim == "adamw_torch" else 1e-5)
        assert norm == pytest.approx(steps[step].grad_norm, rel=2e-3)
        assert learner.rate(step) == pytest.approx(steps[step].learning_rate, abs=1e-12)
    assert steps[-1].loss < steps[0].loss
    trained, found = expected.weights(10), peft_weights(model)
    assert trained.keys() == found.keys()
    for name, tensor in trained.items():
        np.testing.assert_allclose(np.array(found[name]), tensor.numpy(), atol=2e-3)


def of_family(directory: Path, config: PretrainedConfig) -> Path:
    """A tiny model of another family beside the same tokenizer."""
    make_tiny_model(directory)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    return directory


SHAPE: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
SCALED = {"rope_type": "linear", "factor": 4.0, "rope_theta": 20000.0}
FAMILIES = {
    "llama": LlamaConfig(**SHAPE, rope_parameters={"rope_type": "default", "rope_theta": 500000.0}),
    "llama-scaled": LlamaConfig(**SHAPE, rope_parameters=SCALED),
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_converted_adapter_gives_the_logits_of_the_trained_one(family: str, tmp_path: Path) -> None:
    model_dir = of_family(tmp_path / "model", FAMILIES[family])
    plan = on_a_mac(model_dir, training={"max_steps": 6, "learning_rate": 2e-2})
    done = mlx_run(plan, tmp_path / "run")
    assert plan.adapter is not None
    model = load_adapted(plan, str(model_dir))
    set_peft_weights(model, mx.load(str(tmp_path / "run" / "checkpoint-6" / "adapter_model.safetensors")))
    model.eval()
    ids = [ROWS[0][0]]
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    with torch.no_grad():
        untrained = base(torch.tensor(ids)).logits
        adapted = PeftModel.from_pretrained(base, done.directory / "checkpoint-6")(torch.tensor(ids)).logits
    assert (adapted - untrained).abs().max() > 1e-2, "the adapter has learned something"
    np.testing.assert_allclose(np.array(model(mx.array(ids))), adapted.numpy(), atol=1e-4)


def test_a_family_whose_layers_mlx_calls_otherwise_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    config = GPTNeoXConfig(**{**SHAPE, "intermediate_size": 4 * SHAPE["hidden_size"]})
    model_dir = of_family(tmp_path / "model", config)
    # transformers no longer writes what mlx-lm reads of the published configurations.
    as_published = json.loads((model_dir / "config.json").read_text()) | {"rotary_emb_base": 10000, "rotary_pct": 0.5}
    (model_dir / "config.json").write_text(json.dumps(as_published))
    plan = on_a_mac(model_dir)
    assert plan.adapter is not None
    targets = attrs.evolve(plan.adapter.targets, value=("query_key_value", "dense"))
    plan = attrs.evolve(plan, adapter=attrs.evolve(plan.adapter, targets=targets))
    with pytest.raises(BackpropError) as caught:
        mlx_run(plan, tmp_path / "run")
    (problem,) = caught.value.problems
    assert problem.code == "DEP_MODEL_LOAD_FAILED"
    assert "calls a layer model.h." in problem.message


def test_a_layer_that_the_plan_names_and_mlx_has_not_is_refused(model_dir: Path, tmp_path: Path) -> None:
    plan = on_a_mac(model_dir)
    assert plan.adapter is not None
    targets = attrs.evolve(plan.adapter.targets, value=("q_proj", "w2"))
    with pytest.raises(BackpropError, match="no layer w2"):
        mlx_run(attrs.evolve(plan, adapter=attrs.evolve(plan.adapter, targets=targets)), tmp_path)


def test_the_adapter_says_what_it_is_and_which_base_it_fits(model_dir: Path) -> None:
    plan = on_a_mac(model_dir)
    assert plan.adapter is not None
    config = adapter_config(plan.adapter, plan.model)
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (4, 8.0, str(model_dir))
    assert json.loads(json.dumps(config)) == config


def test_a_run_tells_its_steps_its_evaluations_and_its_checkpoints(model_dir: Path, tmp_path: Path) -> None:
    asked = {"max_steps": 6, "learning_rate": 2e-2, "logging_steps": 2, "eval_every": 3, "save_steps": 4}
    done = mlx_run(on_a_mac(model_dir, heldout=True, training=asked), tmp_path)
    assert [e.step for e in done.events if isinstance(e, Step)] == [2, 4, 6]
    measured = [e for e in done.events if isinstance(e, Evaluated)]
    assert [e.step for e in measured] == [3, 6]
    assert measured[0].num_tokens == sum(sum(mask) for _, mask in HELDOUT)
    assert [e.step for e in done.events if isinstance(e, CheckpointSaved)] == [3, 4, 6]
    assert done.losses[-1] < done.losses[0]
    assert not done.result.interrupted


def test_the_held_out_loss_is_that_of_the_torch_rail(model_dir: Path, tmp_path: Path) -> None:
    asked = {"max_steps": 1, "learning_rate": 1e-9, "eval_every": 1}
    groups: dict[str, Any] = {"training": asked, "data": {"packing": False}}
    ours = mlx_run(on_a_mac(model_dir, heldout=True, **groups), tmp_path / "mlx")
    theirs = run(make_plan(model_dir, ROWS, heldout=HELDOUT, **groups), ROWS, tmp_path / "torch", heldout=HELDOUT)
    (one,), (two,) = ([e for e in done.events if isinstance(e, Evaluated)] for done in (ours, theirs))
    assert one.loss == pytest.approx(two.loss, abs=1e-5)
    assert one.num_tokens == two.num_tokens


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_resumed_run_reaches_the_same_bits(dropout: float, model_dir: Path, tmp_path: Path) -> None:
    asked = {"max_steps": 6, "learning_rate": 1e-2, "save_steps": 2}
    plan = on_a_mac(model_dir, training=asked, lora={"lora_dropout": dropout})
    whole = mlx_run(plan, tmp_path / "whole")
    resumed = mlx_run(plan, tmp_path / "resumed", resume_from=tmp_path / "whole" / "checkpoint-2")
    assert [e.step for e in resumed.events if isinstance(e, CheckpointSaved)] == [4, 6]
    expected, found = whole.weights(6), resumed.weights(6)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_how_an_update_is_divided_into_passes_makes_no_difference(model_dir: Path, tmp_path: Path) -> None:
    losses = []
    for size, passes in ((1, 8), (2, 4), (8, 1)):
        asked = {
            "max_steps": 4,
            "learning_rate": 1e-2,
            "logging_steps": 1,
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": passes,
        }
        losses.append(mlx_run(on_a_mac(model_dir, training=asked), tmp_path / str(size)).losses)
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert losses[2] == pytest.approx(losses[0], abs=1e-5)


def test_recomputed_activations_make_no_difference_to_the_run_or_to_later_ones(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[TransformerBlock] = []
    real = TransformerBlock.__call__

    def counted(block: TransformerBlock, *arguments: Any, **named: Any) -> Any:
        computed.append(block)
        return real(block, *arguments, **named)

    monkeypatch.setattr(TransformerBlock, "__call__", counted)
    asked: dict[str, Any] = {"training": {"max_steps": 3, "learning_rate": 1e-2, "logging_steps": 1}}
    keeping = on_a_mac(model_dir, **asked)
    recomputing = on_a_mac(model_dir, **asked, lora={"use_gradient_checkpointing": True})
    passes, losses = [], []
    for number, plan in enumerate((keeping, recomputing, recomputing, keeping)):
        computed.clear()
        losses.append(mlx_run(plan, tmp_path / str(number)).losses)
        passes.append(len(computed))
    assert all(one == pytest.approx(losses[0], abs=1e-5) for one in losses)
    assert passes == [passes[0], 2 * passes[0], 2 * passes[0], passes[0]]


def test_the_rail_needs_no_torch() -> None:
    forbidding = "import sys; sys.modules['torch'] = None; import backprop.effects.mlx.session"
    done = subprocess.run([sys.executable, "-c", forbidding], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
