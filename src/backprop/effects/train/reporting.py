"""What happens in TRL's loop, told as our events; the evaluations and the stop requests hang on the same hooks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import attrs
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backprop.effects.train.interrupts import StopRequest
from backprop.plan.decision import Problem
from backprop.plan.errors import BackpropError
from backprop.plan.events import Evaluated, Event, Progressed, Rewards, Stage, Step, StoppedEarly
from backprop.plan.training.evaluation import EvaluationState, observe, should_stop
from backprop.plan.training.plan import TrainPlan

Emit = Callable[[Event], None]


@attrs.frozen
class Measured:
    """The held-out loss, over how many tokens, and the rewards of a preference method."""

    loss: float
    num_tokens: int
    rewards: Rewards | None = None


Measure = Callable[[], Measured]

_CHOSEN, _REJECTED, _MARGIN, _ACCURACY = (f"rewards/{name}" for name in ("chosen", "rejected", "margins", "accuracies"))


def reward_logs(rewards: Rewards) -> dict[str, float]:
    """The rewards of a step by the names that TRL gives them; what there is none of is left out."""
    values = {
        _CHOSEN: rewards.chosen,
        _REJECTED: rewards.rejected,
        _MARGIN: rewards.margin,
        _ACCURACY: rewards.accuracy,
    }
    return {name: value for name, value in values.items() if value is not None}


def _mean_rewards(steps: list[dict[str, float]]) -> Rewards | None:
    """The means over steps, each over those that have the value."""
    if not any(_ACCURACY in logs for logs in steps):
        return None

    def mean(name: str) -> float | None:
        values = [logs[name] for logs in steps if name in logs]
        return sum(values) / len(values) if values else None

    return Rewards(chosen=mean(_CHOSEN), rejected=mean(_REJECTED), accuracy=mean(_ACCURACY) or 0.0)


class StepReporter(TrainerCallback):  # type: ignore[misc]
    """Emits ``Progressed`` every step, and ``Step`` with the mean loss of the steps since: every ``logging_steps``, and
    where the run ends or is stopped."""

    def __init__(self, plan: TrainPlan, *, emit: Emit, tokens_in_step: Callable[[int], int]) -> None:
        self._plan = plan
        self._emit = emit
        self._tokens_in_step = tokens_in_step
        self._window: list[float] = []
        self._window_logs: list[dict[str, float]] = []
        self._window_tokens = 0
        self._begun_at = self._window_at = time.perf_counter()
        self._begun_step = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Rates count from here, loading left out."""
        self._begun_at = self._window_at = time.perf_counter()
        self._begun_step = state.global_step

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """TRL logs every step."""
        if not logs or "loss" not in logs:
            return
        step, loss, norm = state.global_step, float(logs["loss"]), _norm(logs)
        if not math.isfinite(loss):
            raise _diverged(f"The loss of step {step} is {loss}.")
        # A loss scaler leaves such a step out; else its update has made every weight no number, and is not to be saved.
        if not math.isfinite(norm) and not self._plan.precision.scales_loss:
            raise _diverged(f"The gradient norm of step {step} is {norm}.")
        self._window.append(loss)
        self._window_logs.append(dict(logs))
        self._window_tokens += self._tokens_in_step(step)
        now = time.perf_counter()
        eta = (now - self._begun_at) / (step - self._begun_step) * (state.max_steps - step)
        rate = self._window_tokens / max(now - self._window_at, 1e-9)
        self._emit(Progressed(step, state.max_steps, loss, rate, eta))
        if step % self._plan.logging_steps == 0 or step == state.max_steps or control.should_training_stop:
            self._emit(self._step(step, state.max_steps, rate=rate, eta=eta, logs=logs))
            self._window, self._window_logs, self._window_tokens, self._window_at = [], [], 0, now

    def _step(self, step: int, num_steps: int, *, rate: float, eta: float, logs: Any) -> Step:
        norm = _norm(logs)
        return Step(
            step=step,
            num_steps=num_steps,
            epoch=step * self._plan.batch.effective / self._plan.length.sequences,
            loss=sum(self._window) / len(self._window),
            learning_rate=float(logs["learning_rate"]),
            # A step that loss scaling left out has an infinite norm.
            grad_norm=norm if math.isfinite(norm) else None,
            tokens_per_second=rate,
            eta_seconds=eta,
            rewards=_mean_rewards(self._window_logs),
        )


def _norm(logs: dict[str, float]) -> float:
    """Both rails clip, and log the norm before that."""
    return float(logs["grad_norm"])


def _diverged(what: str) -> BackpropError:
    return BackpropError(Problem("RUNTIME_TRAINING_DIVERGED", what))


class PlannedIntervals(TrainerCallback):  # type: ignore[misc]
    """Saves and logs as planned; the state in a checkpoint would bring back the intervals of the plan that made it."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The checkpoint's state is loaded by now."""
        state.save_steps, state.logging_steps = args.save_steps, args.logging_steps


class Evaluator(TrainerCallback):  # type: ignore[misc]
    """Measures the held-out loss when planned; asks for a checkpoint of every best one and for an early stop."""

    def __init__(self, plan: TrainPlan, *, state: EvaluationState, emit: Emit) -> None:
        assert plan.evaluation is not None
        self._plan = plan.evaluation
        self.state = state
        self._emit = emit
        self.measure: Measure | None = None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """After the update, before the checkpoint of the same step."""
        step = state.global_step
        if step % self._plan.every.value and step != state.max_steps:
            return
        assert self.measure is not None
        measured = self.measure()
        loss = measured.loss
        if not math.isfinite(loss):
            raise _diverged(f"The held-out loss of step {step} is {loss}.")
        self.state = observe(self.state, step=step, loss=loss)
        is_best = self.state.best_step == step
        self._emit(Evaluated(step, loss, measured.num_tokens, is_best, measured.rewards))
        control.should_save = control.should_save or is_best
        if should_stop(self.state, self._plan):
            assert self.state.best_step is not None
            self._emit(StoppedEarly(step=step, best_step=self.state.best_step))
            control.should_save = control.should_training_stop = True


class Stopper(TrainerCallback):  # type: ignore[misc]
    """Saves and ends the run at the next step once a stop was asked for, and says so."""

    def __init__(self, request: StopRequest, *, emit: Emit, agree: Callable[[bool], bool] = bool) -> None:
        self._request = request
        self._emit = emit
        self._agree = agree
        self._is_told = False
        self.stopped = False

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Between the forward passes of a step."""
        self._request.check()
        if self._request.is_set and not self._is_told:
            self._is_told = True
            self._emit(Stage("stopping after this step; Ctrl-C once more stops at once"))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The run is not interrupted by a request that comes in its very last step; all its processes stop, or none."""
        self._request.check()
        if self._agree(self._request.is_set) and state.global_step < state.max_steps:
            self.stopped = True
            control.should_save = control.should_training_stop = True
