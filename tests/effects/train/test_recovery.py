"""Memory that runs out in a real run: it goes on by itself, as a run planned with the smaller batch would."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from backprop.effects.train import heldout, loading
from backprop.effects.train.recovery import forget_model
from backprop.effects.train.reporting import Measured
from backprop.effects.train.together import Together
from backprop.effects.train.trainer import PlannedTrainer
from backprop.plan.errors import BackpropError
from backprop.plan.events import Evaluated, Event, Pass, Recovered, Step
from backprop.plan.settings.training import Optimizer
from backprop.plan.training.oom_recovery import RecoveryState, with_recovery
from backprop.plan.training.plan import TrainPlan
from tests.effects.train.runs import Row, Trained, make_plan, make_rows, run

STEPS = 4
ROWS = make_rows(14)
ON_THE_CARD = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
ON_THE_PROCESSOR = RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: not enough memory")


def plan_of(model_dir: Path, *, micro: int = 4, accumulation: int = 2, **groups: Any) -> TrainPlan:
    sizes = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": accumulation}
    training = {"max_steps": STEPS, "logging_steps": 1, "save_steps": 100, "learning_rate": 1e-2, **sizes}
    merged = {**groups, "training": training | groups.get("training", {})}
    return make_plan(model_dir, ROWS, **{"data": {"packing": False}, **merged})


def smaller(plan: TrainPlan, micro_batch: int) -> TrainPlan:
    """The plan as somebody would have written it with that micro-batch."""
    return with_recovery(plan, RecoveryState(plan.batch.effective, micro_batch, micro_batch))


@contextmanager
def running_out(*moments: tuple[int, int], wrong: Exception = ON_THE_CARD) -> Iterator[None]:
    """Memory runs out at (step, pass within it), once each: after the pass, so that its gradients are there."""
    left, real = set(moments), PlannedTrainer.training_step
    passes: dict[int, int] = {}

    def training_step(self: PlannedTrainer, *arguments: Any) -> Any:
        step = self.state.global_step + 1
        passes[step] = passes.get(step, 0) + 1
        loss = real(self, *arguments)
        if (step, passes[step]) in left:
            left.remove((step, passes[step]))
            passes[step] = 0
            raise wrong.with_traceback(None)
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlannedTrainer, "training_step", training_step)
        yield
    assert left == set(), "memory ran out as often as it should"


def stitched(plans: list[tuple[int, TrainPlan]], directory: Path, **more: Any) -> Trained:
    """Runs one after the other, each resumed from where the one before had got: (last step, plan)."""
    resume_from, done = None, None
    for i, (last, plan) in enumerate(plans):
        every = attrs.evolve(plan.checkpoints, every=attrs.evolve(plan.checkpoints.every, value=1))
        whole = attrs.evolve(plan, checkpoints=every)
        done = run(whole, ROWS, directory / str(i), resume_from=resume_from, **more)
        resume_from = done.directory / f"checkpoint-{last}" if last else None
    assert done is not None
    return done


def recoveries(done: Trained) -> list[Recovered]:
    return [e for e in done.events if isinstance(e, Recovered)]


def assert_same_weights(one: Trained, two: Trained, step: int = STEPS) -> None:
    for name, tensor in one.weights(step).items():
        assert torch.equal(tensor, two.weights(step)[name]), name


@pytest.mark.parametrize(("moment", "dropout"), [((1, 2), 0.05), ((3, 1), 0.05), ((4, 2), 0.05), ((2, 2), 0.0)])
def test_a_recovered_run_ends_bit_identical_to_one_planned_smaller_from_there_on(
    model_dir: Path, tmp_path: Path, moment: tuple[int, int], dropout: float
) -> None:
    plan = plan_of(model_dir, lora={"lora_dropout": dropout})
    with running_out(moment):
        done = run(plan, ROWS, tmp_path / "recovered")
    kept = moment[0] - 1
    assert recoveries(done) == [Recovered(kept, 1, Pass.TRAINING, micro_batch=2, accumulation=4, heldout_batch=2)]
    assert len(done.losses) == STEPS, "no finished step is trained again"
    assert_same_weights(done, stitched([(kept, plan), (STEPS, smaller(plan, 2))], tmp_path / "planned"))


def test_packed_rows_recover_to_the_same_bits(model_dir: Path, tmp_path: Path) -> None:
    plan = plan_of(model_dir, micro=2, accumulation=1, data={"packing": True}, model={"max_seq_length": 40})
    assert plan.batch.packing.value
    with running_out((3, 1)):
        done = run(plan, ROWS, tmp_path / "recovered")
    assert_same_weights(done, stitched([(2, plan), (STEPS, smaller(plan, 1))], tmp_path / "planned"))


def test_memory_may_run_out_again(model_dir: Path, tmp_path: Path) -> None:
    plan = plan_of(model_dir)
    with running_out((2, 1), (4, 3), wrong=ON_THE_PROCESSOR):
        done = run(plan, ROWS, tmp_path / "recovered")
    assert [(r.step, r.micro_batch, r.accumulation) for r in recoveries(done)] == [(1, 2, 4), (3, 1, 8)]
    parts = [(1, plan), (3, smaller(plan, 2)), (STEPS, smaller(plan, 1))]
    assert_same_weights(done, stitched(parts, tmp_path / "planned"))


def test_an_update_that_fails_halfway_is_trained_again_from_the_last_checkpoint(
    model_dir: Path, tmp_path: Path
) -> None:
    plan = plan_of(model_dir, training={"save_steps": 2})
    with tearing_update(4):
        done = run(plan, ROWS, tmp_path / "recovered")
    assert [r.step for r in recoveries(done)] == [2]
    assert_same_weights(done, stitched([(2, plan), (STEPS, smaller(plan, 2))], tmp_path / "planned"))


def test_an_update_that_fails_halfway_before_the_first_checkpoint_begins_the_run_again(
    model_dir: Path, tmp_path: Path
) -> None:
    plan = plan_of(model_dir)
    with tearing_update(2):
        done = run(plan, ROWS, tmp_path / "recovered")
    assert [r.step for r in recoveries(done)] == [0]
    assert_same_weights(done, run(smaller(plan, 2), ROWS, tmp_path / "planned"))


@contextmanager
def tearing_update(number: int) -> Iterator[None]:
    """Memory runs out in that update, counted from 1, when some of the weights have moved."""
    real, calls = torch.optim.AdamW.step, itertools.count(1)

    def step(self: torch.optim.AdamW, *arguments: Any, **named: Any) -> Any:
        if next(calls) == number:
            with torch.no_grad():
                self.param_groups[0]["params"][0].add_(1.0)
            raise ON_THE_CARD.with_traceback(None)
        return real(self, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        yield
    assert next(calls) > number


def test_after_three_recoveries_the_run_ends_with_its_last_step_saved(model_dir: Path, tmp_path: Path) -> None:
    plan = plan_of(model_dir, micro=16, accumulation=1)
    with (
        running_out((2, 1), (2, 2), (3, 1), (4, 1)),
        pytest.raises(BackpropError) as caught,
    ):
        run(plan, ROWS, tmp_path)
    (problem,) = caught.value.problems
    assert problem.code == "RUNTIME_OOM_RECOVERY_EXHAUSTED"
    assert "recovered 3 times" in problem.message
    assert (tmp_path / "checkpoint-3").is_dir()


def test_one_sequence_that_does_not_fit_ends_the_run(model_dir: Path, tmp_path: Path) -> None:
    plan = plan_of(model_dir, micro=1)
    with running_out((2, 1)), pytest.raises(BackpropError) as caught:
        run(plan, ROWS, tmp_path)
    assert caught.value.problems[0].code == "RUNTIME_OOM_RECOVERY_EXHAUSTED"
    assert (tmp_path / "checkpoint-1").is_dir()


def test_an_evaluation_that_does_not_fit_is_measured_in_smaller_passes(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = make_rows(5, seed=1)
    plan = plan_of_heldout(model_dir, held)
    whole = run(plan, ROWS, tmp_path / "whole", heldout=held)
    monkeypatch.setattr(heldout, "heldout_loss", fits_up_to(1, heldout.heldout_loss))
    done = run(plan, ROWS, tmp_path / "recovered", heldout=held)
    told = [(r.step, r.during, r.micro_batch, r.heldout_batch) for r in recoveries(done)]
    assert told == [(2, Pass.EVALUATION, 4, 2), (2, Pass.EVALUATION, 4, 1)]
    one, two = ([e for e in d.events if isinstance(e, Evaluated)] for d in (whole, done))
    assert [e.step for e in one] == [e.step for e in two] == [2, 4]
    # Another batch adds the same numbers in another order.
    assert [e.loss for e in one] == pytest.approx([e.loss for e in two], abs=1e-6)
    assert_same_weights(whole, done)


def test_an_evaluation_of_which_no_row_fits_ends_the_run_with_its_last_step_saved(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = make_rows(5, seed=1)
    plan = plan_of_heldout(model_dir, held)
    monkeypatch.setattr(heldout, "heldout_loss", fits_up_to(0, heldout.heldout_loss))
    with pytest.raises(BackpropError) as caught:
        run(plan, ROWS, tmp_path / "given up", heldout=held)
    assert caught.value.problems[0].code == "RUNTIME_OOM_RECOVERY_EXHAUSTED"
    monkeypatch.undo()
    whole = run(plan, ROWS, tmp_path / "whole", heldout=held)
    checkpoint = tmp_path / "given up" / "checkpoint-2"
    assert_same_weights(whole, run(plan, ROWS, tmp_path / "resumed", heldout=held, resume_from=checkpoint))


def plan_of_heldout(model_dir: Path, held: list[Row]) -> TrainPlan:
    training = {
        "max_steps": STEPS,
        "logging_steps": 1,
        "learning_rate": 1e-2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "eval_every": 2,
    }
    return make_plan(model_dir, ROWS, heldout=held, data={"packing": False}, training=training)


def fits_up_to(size: int, real: Callable[..., Measured]) -> Callable[..., Measured]:
    def loss(trainer: PlannedTrainer, batches: Any, group: Together) -> Measured:
        if batches.batch_size > size:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(trainer, batches, group)

    return loss


def test_recovery_goes_back_behind_no_evaluation(model_dir: Path, tmp_path: Path) -> None:
    held = make_rows(5, seed=1)
    plan = plan_of_heldout(model_dir, held)
    with running_out((3, 1)):
        done = run(plan, ROWS, tmp_path, heldout=held)
    assert [e.step for e in done.events if isinstance(e, Evaluated)] == [2, 4]
    assert [r.step for r in recoveries(done)] == [2]


def test_a_model_that_does_not_fit_is_not_tried_again(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[int] = []

    def too_large(*_: Any, **__: Any) -> Any:
        loaded.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", too_large)
    with pytest.raises(BackpropError) as caught:
        run(plan_of(model_dir), ROWS, tmp_path)
    assert caught.value.problems[0].code == "RUNTIME_GPU_OOM"
    assert loaded == [1]


@pytest.mark.parametrize("optimizer", [Optimizer.ADAMW_TORCH, Optimizer.ADAMW_8BIT])
def test_what_the_failed_pass_held_is_free_before_the_model_is_loaded_again(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: Optimizer
) -> None:
    models: list[weakref.ref[Any]] = []
    activations: list[weakref.ref[Any]] = []
    alive_at_loading: list[int] = []
    add, real = loading.add_adapter, PlannedTrainer.training_step
    # What is free is so because it was given back, not because the collector came by.
    gc.disable()

    def add_adapter(*arguments: Any, **more: Any) -> Any:
        alive_at_loading.append(sum(r() is not None for r in (*models, *activations)))
        model: Any = add(*arguments, **more)
        models.extend(map(weakref.ref, (model, model.get_input_embeddings())))
        return model

    def training_step(self: PlannedTrainer, model: Any, inputs: Any, *more: Any) -> Any:
        if self.state.global_step == 2 and len(inputs["input_ids"]) == 4:
            held = torch.zeros(1000)
            activations.append(weakref.ref(held))
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(self, model, inputs, *more)

    monkeypatch.setattr(loading, "add_adapter", add_adapter)
    monkeypatch.setattr(PlannedTrainer, "training_step", training_step)
    try:
        run(plan_of(model_dir, training={"optim": optimizer}), ROWS, tmp_path)
    finally:
        gc.enable()
    assert alive_at_loading == [0, 0]
    assert len(activations) == 1


def test_paged_state_is_not_kept_for_good() -> None:
    from bitsandbytes.functional import GlobalPageManager

    state = torch.zeros(10)
    GlobalPageManager.get_instance().paged_tensors.append(state)
    held = weakref.ref(state)
    del state
    forget_model()
    assert held() is None


def test_a_stop_that_was_asked_for_is_heard_when_memory_runs_out(model_dir: Path, tmp_path: Path) -> None:
    asked: list[int] = []

    def interrupt(event: Event) -> None:
        if isinstance(event, Step) and event.step == 2:
            asked.append(event.step)
            os.kill(os.getpid(), signal.SIGINT)

    held = make_rows(5, seed=1)
    # The step after the request is finished first, and memory runs out in that one.
    with running_out((3, 1)):
        done = run(plan_of_heldout(model_dir, held), ROWS, tmp_path, heldout=held, on_event=interrupt)
    assert asked == [2]
    assert done.result.interrupted
    assert done.result.last_step == 2
    assert recoveries(done) == []
    assert (tmp_path / "checkpoint-2").is_dir()
