"""Watching the card while it trains: readings from its driver, pauses and the end of a run between steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pynvml
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backprop.effects.probe.nvidia import visible_handles
from backprop.effects.train.interrupts import StopRequest
from backprop.effects.train.reporting import Emit
from backprop.plan.decision import Problem
from backprop.plan.events import Paused, Resumed, Warned
from backprop.plan.training.monitor import (
    Abort,
    Command,
    MonitorState,
    NoReading,
    Pause,
    Reading,
    Resume,
    Warn,
    Watch,
    observe,
)

SECONDS_BETWEEN_READINGS = 5.0
_NAP_SECONDS = 1.0
"""The longest that a pause goes without listening for Ctrl-C."""


class Card(Protocol):
    """A card that can be read again and again."""

    def read(self) -> Reading | NoReading:
        """How it is now. Raises nothing: a reading that fails is a value."""


class NvmlCard:
    """The first card that CUDA shows to this process, which is the one that trains."""

    def read(self) -> Reading | NoReading:
        """How it is now, as its driver says."""
        now = time.monotonic()
        try:
            handles = visible_handles()
            if not handles:
                return NoReading(now, "The driver shows no card to this process.")
            celsius = int(pynvml.nvmlDeviceGetTemperature(handles[0], pynvml.NVML_TEMPERATURE_GPU))
            try:
                memory = pynvml.nvmlDeviceGetMemoryInfo(handles[0])
            except pynvml.NVMLError_NotSupported:
                return Reading(now, celsius, 0, 0)
            return Reading(now, celsius, int(memory.used), int(memory.total))
        except pynvml.NVMLError as error:
            return NoReading(now, f"The NVIDIA driver does not answer: {error}.")


@contextmanager
def nvml_card() -> Iterator[Card]:
    """The card while its driver's library is open; every reading fails when that cannot be opened."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield NvmlCard()
        return
    try:
        yield NvmlCard()
    finally:
        pynvml.nvmlShutdown()


class CardMonitor(TrainerCallback):  # type: ignore[misc]
    """Reads the card after a step, at most every few seconds; one monitor watches all parts of a run."""

    def __init__(self, card: Card, request: StopRequest, *, emit: Emit) -> None:
        self._card = card
        self._request = request
        self._emit = emit
        self._state = MonitorState()
        self._read_at = float("-inf")
        self.problem: Problem | None = None
        """Why the run was ended."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Between steps; after the last one there is nothing left to protect the card from."""
        if state.global_step >= state.max_steps:
            return
        self._read(state.global_step)
        while self._state.watch is Watch.PAUSED and not self._request.is_set:
            time.sleep(_NAP_SECONDS)
            self._request.check()
            self._read(state.global_step)
        if self.problem is not None:
            control.should_save = control.should_training_stop = True

    def _read(self, step: int) -> None:
        now = time.monotonic()
        if self._state.watch is Watch.ENDED or now - self._read_at < SECONDS_BETWEEN_READINGS:
            return
        self._read_at = now
        self._state, commands = observe(self._state, self._card.read())
        for command in commands:
            self._carry_out(command, step)

    def _carry_out(self, command: Command, step: int) -> None:
        match command:
            case Pause(celsius):
                self._emit(Paused(step, celsius))
            case Resume(celsius, seconds):
                self._emit(Resumed(step, celsius, seconds))
            case Warn(problem):
                self._emit(Warned(step, problem.code, problem.message))
            case Abort(problem):
                self.problem = problem
