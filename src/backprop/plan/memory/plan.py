"""The memory plan: terms that add up to the peak, and what stands beside it."""

from __future__ import annotations

import attrs

from backprop.plan.memory.term import TermName

CONTEXT_BYTES = 600_000_000
"""The CUDA context and its kernels, outside of the allocator: 0.5 to 0.75 GB by card and driver."""
RESERVED_SHARE = 0.06
"""Room beyond the peak for pieces between tensors that nothing fits: a judgement, not a bound.

40 simulated runs with memory to spare reserved 6.8 % more than the peak in the median, 11 of them over 10 %, one 25 %.
Most of that is whole blocks that lie free, which torch gives back to the driver before an allocation fails
(c10/cuda/CUDACachingAllocator.cpp, ``release_cached_blocks``). What must fit is therefore what is handed out, the
context, and the free pieces of blocks that are in use; how much those are was not measured.
"""

STACK = "torch 2.13, transformers 5.23, PEFT 0.21, TRL 1.16, bitsandbytes 0.50"
"""The libraries whose tensors are counted; others keep much the same, not exactly the same."""


@attrs.frozen
class Term:
    """A part of the peak."""

    name: TermName
    bytes: int


@attrs.frozen
class MemoryPlan:
    """Peak memory of one training process."""

    terms: tuple[Term, ...]
    moment: str
    """When the peak comes.

    ``forward``, ``reference forward``, ``loss``, ``layer backward``, ``end of backward`` or ``optimizer step``.
    """
    paged_bytes: int = 0
    """The part of the optimizer's state that moves to the host while the card is full."""
    host_bytes: int = 0
    """What stands in host memory beside the card: weights, gradients and optimizer state that are offloaded, and the
    factors that an adapter of PiSSA or LoftQ began with.

    Loading takes none besides: transformers 5.23 maps safetensors files and copies tensor by tensor. Of a model of
    634 MB it took 3 MB that were no pages of the files (Linux; on Windows it reads the tensors).
    """
    context_bytes: int = CONTEXT_BYTES
    """Outside of what is counted: the CUDA context; on the CPU the process itself, and an adapter's first factors."""
    reserve_share: float = RESERVED_SHARE
    """Beyond the peak, for free pieces of blocks that are in use."""
    stack: str = STACK

    @property
    def peak_bytes(self) -> int:
        """``torch.cuda.max_memory_allocated``, and the paged state, which is outside of torch's allocator."""
        return sum(term.bytes for term in self.terms)

    def bytes_of(self, name: TermName) -> int:
        """The part of the peak that ``name`` holds."""
        return sum(term.bytes for term in self.terms if term.name is name)

    @property
    def reserved_bytes(self) -> int:
        """The peak with room for free pieces; with memory to spare the allocator may well hold more."""
        return round(self.peak_bytes * (1 + self.reserve_share))

    @property
    def needed_bytes(self) -> int:
        """What must be free before the run: reserved and context."""
        return self.reserved_bytes + self.context_bytes
