"""What torch's CPU allocator hands out while a block runs, as its profiler reports it.

A dispatch mode would do, too, but under one the engine adds gradients out of place, which it does not do otherwise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile


class Allocations:
    """Bytes that a block allocated, beyond what was there before."""

    def __init__(self) -> None:
        self.changes: list[int] = []

    @property
    def peak_bytes(self) -> int:
        """The most that was alive at once."""
        alive = peak = 0
        for change in self.changes:
            alive += change
            peak = max(peak, alive)
        return peak

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Measure a block; of several the last counts."""
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            yield
        results: Any = profiled.profiler
        found = _allocations(results.kineto_results.experimental_event_tree())
        self.changes = [change for _, change in sorted(found, key=lambda one: one[0])]


def _allocations(events: Iterable[Any]) -> Iterator[tuple[int, int]]:
    for event in events:
        if event.tag == _EventType.Allocation:
            yield event.start_time_ns, event.extra_fields.alloc_size
        yield from _allocations(event.children)
