"""The longest batch of a run goes through the model before the first step: if memory runs out, then at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backprop.effects.train.reporting import Emit
from backprop.effects.train.sequences import Tensors
from backprop.effects.train.task import PlannedMemory
from backprop.plan.events import MemoryChecked


class CardMemory(Protocol):
    """The card's memory as torch's allocator counts it."""

    def reserve(self, num_bytes: int) -> object:
        """Hold that much until the result is dropped."""

    def reset_peak(self) -> None:
        """Begin to measure."""

    def peak(self) -> tuple[int, int]:
        """The most bytes since then (handed out, held by the allocator)."""


class CudaMemory:
    """The memory of the card that torch uses."""

    def reserve(self, num_bytes: int) -> object:
        """A tensor of that size."""
        return torch.empty(num_bytes, dtype=torch.uint8, device="cuda")

    def reset_peak(self) -> None:
        """Begin to measure."""
        torch.cuda.reset_peak_memory_stats()

    def peak(self) -> tuple[int, int]:
        """The most bytes since then (handed out, held by the allocator)."""
        return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()


class FirstBatch(TrainerCallback):  # type: ignore[misc]
    """Measures a pass over the longest batch when training begins; leaves weights and random states as they are."""

    def __init__(self, memory: CardMemory | None, planned: PlannedMemory | None, *, emit: Emit) -> None:
        self._memory = memory
        self._planned = planned
        self._emit = emit
        self.longest: Callable[[], Tensors] | None = None
        self.rehearse: Callable[[Tensors], None] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, optimizer: Any = None, **_: Any
    ) -> None:
        """Model and optimizer are ready."""
        planned_bytes = self._planned.peak_bytes if self._planned else None
        if self._memory is None:
            self._emit(MemoryChecked(planned_bytes, None, None, "not measured, since this run uses no card"))
            return
        assert self.longest is not None
        assert self.rehearse is not None
        batch = self.longest()
        rows, tokens = batch["input_ids"].shape
        missing = self._planned.optimizer_bytes if self._planned and not optimizer.state else 0
        held = self._memory.reserve(missing)
        self._memory.reset_peak()
        self.rehearse(batch)
        measured, reserved = self._memory.peak()
        del held
        self._emit(MemoryChecked(planned_bytes, measured, reserved, f"{rows} × {tokens:,} tokens"))
