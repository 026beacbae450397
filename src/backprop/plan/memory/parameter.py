"""The tensors that an optimizer steps, and how the allocator rounds them."""

from __future__ import annotations

import attrs

BLOCK = 512
"""The CUDA caching allocator rounds each allocation up to this many bytes."""


def rounded(num_bytes: int) -> int:
    """``num_bytes`` as the caching allocator hands them out."""
    return -(-num_bytes // BLOCK) * BLOCK


@attrs.frozen
class ParameterGroup:
    """``count`` equal tensors of ``numel`` elements."""

    numel: int
    itemsize: int
    count: int
    columns: int = 0
    """Size of a matrix's last dimension; 0 for a vector."""
    is_embedding: bool = False
    """The weight of an ``nn.Embedding``."""
