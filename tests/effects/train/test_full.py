"""Full fine-tuning does what a plain loop does; offloaded, resumed or in bfloat16, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from transformers import AutoModelForCausalLM

from backprop.effects.train.offload import check_available
from backprop.effects.train.sequences import TrainingBatches
from backprop.effects.train.trainer import PlannedTrainer
from backprop.plan.errors import BackpropError
from backprop.plan.events import Evaluated, Step
from backprop.plan.settings.lora import LoraPreset
from backprop.plan.settings.model import Dtype
from backprop.plan.settings.training import Optimizer, Scheduler, TrainMode
from backprop.plan.training.full_precision import Rounding
from backprop.plan.training.offload import CollectiveBackend, OffloadPlan
from backprop.plan.training.plan import TrainPlan
from tests.effects.train.runs import ListRows, Row, Trained, make_plan, make_rows, run

ROWS = make_rows(12)


def full_plan(model_dir: Path, rows: list[Row] = ROWS, **groups: Any) -> TrainPlan:
    asked = {"max_steps": 4, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "logging_steps": 1}
    training = {**asked, "mode": TrainMode.FULL, "learning_rate": 1e-3, **groups.pop("training", {})}
    return make_plan(model_dir, rows, training=training, **groups)


def assert_equal_weights(one: Trained, two: Trained, step: int, *, within: float) -> None:
    mine, theirs = one.weights(step), two.weights(step)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=within, msg=name)


def plain_loop(plan: TrainPlan, rows: list[Row]) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Losses and weights after the planned steps at a constant rate, as a page of torch has them."""
    model = AutoModelForCausalLM.from_pretrained(plan.model.directory, dtype=torch.float32)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    flat = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": flat, "weight_decay": 0.0}],
        lr=plan.learning_rate.peak.value,
    )
    losses = []
    batches = iter(TrainingBatches(plan, ListRows(rows)).loader)
    for _ in range(plan.length.steps.value):
        step = [next(batches) for _ in range(plan.batch.accumulation.value)]
        num_targets = sum(int((b["labels"][:, 1:] != -100).sum()) for b in step)
        total = 0.0
        for batch in step:
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
            loss = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=-100, reduction="sum"
            )
            torch.autograd.backward(loss / num_targets)
            total += loss.item() / num_targets
        torch.nn.utils.clip_grad_norm_(model.parameters(), plan.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    return losses, dict(model.named_parameters())


def constant(**more: Any) -> dict[str, Any]:
    return {"lr_scheduler_type": Scheduler.CONSTANT, **more}


def test_one_step_is_that_of_a_plain_loop(model_dir: Path, tmp_path: Path) -> None:
    plan = full_plan(model_dir, data={"packing": False}, training=constant(max_steps=1))
    losses, weights = plain_loop(plan, ROWS)
    ours = run(plan, ROWS, tmp_path)
    assert ours.losses == pytest.approx(losses, abs=1e-6)
    before = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).state_dict()
    for name, tensor in ours.weights(1).items():
        # AdamW's first step is lr·g / (|g| + 1e-8): where g is that small its rounding shows, here 1.4e-6 at most.
        apart = (tensor - weights[name].detach()).abs()
        assert apart.max() <= 5e-6, name
        assert (apart > 1e-6).sum() <= 1, name
        assert not torch.equal(tensor, before[name]), f"{name} was trained"


def test_losses_are_those_of_a_plain_loop(model_dir: Path, tmp_path: Path) -> None:
    plan = full_plan(model_dir, data={"packing": False}, training=constant(max_steps=6))
    losses, _ = plain_loop(plan, ROWS)
    assert run(plan, ROWS, tmp_path).losses == pytest.approx(losses, abs=1e-5)


def test_a_checkpoint_is_a_model_that_loads_and_what_it_takes_to_go_on(model_dir: Path, tmp_path: Path) -> None:
    done = run(full_plan(model_dir), ROWS, tmp_path)
    names = {p.name for p in (done.directory / "checkpoint-4").iterdir()}
    assert {"model.safetensors", "config.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"} <= names
    loaded = AutoModelForCausalLM.from_pretrained(done.directory / "checkpoint-4", dtype=torch.float32)
    state = loaded.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in done.weights(4).items())


@pytest.mark.parametrize(
    "groups",
    [
        pytest.param({}, id="float32"),
        pytest.param({"model": {"dtype": Dtype.BFLOAT16}}, id="bfloat16"),
        pytest.param({"training": {"full_ft_offload": True}}, id="offloaded"),
        pytest.param({"training": {"optim": Optimizer.ADAMW_8BIT}}, id="8-bit states"),
    ],
)
def test_a_resumed_run_ends_bit_identical(model_dir: Path, tmp_path: Path, groups: dict[str, Any]) -> None:
    training = {"max_steps": 6, "save_steps": 2, **groups.get("training", {})}
    plan = full_plan(model_dir, **{**groups, "training": training})
    whole = run(plan, ROWS, tmp_path / "whole")
    resumed = run(plan, ROWS, tmp_path / "resumed", resume_from=tmp_path / "whole" / "checkpoint-2")
    assert whole.losses[2:] == resumed.losses
    assert_equal_weights(whole, resumed, 6, within=0.0)
    assert not list(tmp_path.rglob(".partial*"))


@pytest.mark.parametrize(
    ("optimizer", "dtype"),
    [(Optimizer.AUTO, Dtype.AUTO), (Optimizer.SGD, Dtype.AUTO), (Optimizer.AUTO, Dtype.BFLOAT16)],
)
def test_offloaded_weights_learn_as_others_do(
    model_dir: Path, tmp_path: Path, optimizer: Optimizer, dtype: Dtype
) -> None:
    asked = {"optim": optimizer, "max_grad_norm": 0.1}
    groups: dict[str, Any] = {"lora": {"use_gradient_checkpointing": True}, "model": {"dtype": dtype}}
    plain = full_plan(model_dir, training=asked, **groups)
    offloaded = full_plan(model_dir, training={**asked, "full_ft_offload": True}, **groups)
    assert offloaded.offload is not None
    one, two = run(plain, ROWS, tmp_path / "plain"), run(offloaded, ROWS, tmp_path / "offloaded")
    assert one.losses == pytest.approx(two.losses, abs=1e-5)
    assert_equal_weights(one, two, 4, within=1e-5)
    assert not dist.is_initialized()


def test_a_scaled_loss_makes_no_difference_to_the_bound_on_offloaded_gradients(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a card without bfloat16, where the arithmetic is float16."""
    begin = PlannedTrainer.__init__

    def with_scaler(self: PlannedTrainer, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        self.accelerator.scaler, self.accelerator.native_amp = torch.amp.GradScaler("cpu", init_scale=4096.0), True

    monkeypatch.setattr(PlannedTrainer, "__init__", with_scaler)
    monkeypatch.setattr(Accelerator, "mixed_precision", property(lambda found: "fp16" if found.scaler else "no"))
    plain, offloaded = (
        run(full_plan(model_dir, training={"max_grad_norm": 0.1, "full_ft_offload": offloads}), ROWS, tmp_path / name)
        for name, offloads in (("plain", False), ("offloaded", True))
    )
    norms, others = ([e.grad_norm for e in done.events if isinstance(e, Step)] for done in (plain, offloaded))
    assert others == pytest.approx(norms, rel=1e-3)
    assert offloaded.losses == pytest.approx(plain.losses, abs=1e-3)


def test_an_offloaded_run_measures_the_held_out_loss(model_dir: Path, tmp_path: Path) -> None:
    heldout = make_rows(5, seed=1)

    def losses(directory: Path, **training: Any) -> list[float]:
        asked = {"eval_every": 2, **training}
        plan = make_plan(model_dir, ROWS, heldout=heldout, training={"mode": TrainMode.FULL, **asked})
        return [e.loss for e in run(plan, ROWS, directory, heldout=heldout).events if isinstance(e, Evaluated)]

    plain = losses(tmp_path / "plain")
    assert len(plain) == 2
    assert losses(tmp_path / "offloaded", full_ft_offload=True) == pytest.approx(plain, abs=1e-5)


def test_without_nccl_offload_to_a_card_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_nccl_available", lambda: False)
    check_available(OffloadPlan(CollectiveBackend.GLOO))
    with pytest.raises(BackpropError) as caught:
        check_available(OffloadPlan(CollectiveBackend.NCCL))
    assert caught.value.problems[0].code == "DEP_FSDP_UNAVAILABLE"


def test_small_updates_reach_bfloat16_weights(model_dir: Path, tmp_path: Path) -> None:
    """At 1e-6 a step moves most weights by less than a half of what bfloat16 can tell apart."""
    model = {"dtype": Dtype.BFLOAT16}
    steps = constant(max_steps=20, learning_rate=1e-6)

    def share_moved(directory: Path, optimizer: Optimizer) -> tuple[Rounding, float]:
        plan = full_plan(model_dir, model=model, training={**steps, "optim": optimizer})
        assert plan.rounding is not None
        after = run(plan, ROWS, directory).weights(20)
        before = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16).state_dict()
        moved = sum(int((after[n] != before[n]).sum()) for n in after)
        return plan.rounding.value, moved / sum(t.numel() for t in after.values())

    kind, moved = share_moved(tmp_path / "ours", Optimizer.ADAMW_TORCH_FUSED)
    other_kind, other_moved = share_moved(tmp_path / "8bit", Optimizer.ADAMW_8BIT)
    assert (kind, other_kind) == (Rounding.STOCHASTIC, Rounding.NEAREST)
    assert moved > 1.5 * other_moved


def test_a_dora_adapter_trains_its_magnitudes_and_resumes(model_dir: Path, tmp_path: Path) -> None:
    lora = {"preset": LoraPreset.FAST, "use_dora": True}
    plan = make_plan(model_dir, ROWS, lora=lora, training={"max_steps": 4, "save_steps": 2, "learning_rate": 1e-2})
    whole = run(plan, ROWS, tmp_path / "whole")
    first, last = whole.weights(2), whole.weights(4)
    magnitudes = [name for name in last if "magnitude" in name]
    assert len(magnitudes) == 4, "query and value in both layers"
    assert all(not torch.equal(first[name], last[name]) for name in magnitudes)
    resumed = run(plan, ROWS, tmp_path / "resumed", resume_from=tmp_path / "whole" / "checkpoint-2")
    assert_equal_weights(whole, resumed, 4, within=0.0)
