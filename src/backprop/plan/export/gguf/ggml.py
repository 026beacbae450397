"""The element types of GGUF tensors that are written, with the size of their blocks.

Source: ggml.h (enum ggml_type) and ggml-common.h (the block structures), as in gguf 0.19.
"""

from __future__ import annotations

import enum
import math


class GgmlType(enum.Enum):
    """(number in the file, elements of a block, bytes of a block)."""

    F32 = (0, 1, 4)
    F16 = (1, 1, 2)
    Q4_0 = (2, 32, 18)
    Q5_0 = (6, 32, 22)
    Q5_1 = (7, 32, 24)
    Q8_0 = (8, 32, 34)
    Q2_K = (10, 256, 84)
    Q3_K = (11, 256, 110)
    Q4_K = (12, 256, 144)
    Q5_K = (13, 256, 176)
    Q6_K = (14, 256, 210)

    @property
    def number(self) -> int:
        """How the file names the type."""
        return self.value[0]

    @property
    def block_size(self) -> int:
        """Elements that are quantized together; a row holds a whole number of blocks."""
        return self.value[1]

    @property
    def block_bytes(self) -> int:
        """Size of a block."""
        return self.value[2]

    @property
    def is_quantized(self) -> bool:
        """Fewer than 16 bits an element."""
        return self.block_size > 1

    @property
    def is_k_quant(self) -> bool:
        """One of the types with super-blocks of 256, which only ggml's own routine makes."""
        return self.block_size == 256

    def fits(self, row_length: int) -> bool:
        """Whether rows of this many elements are whole blocks."""
        return row_length % self.block_size == 0

    def row_bytes(self, row_length: int) -> int:
        """Bytes of a row that fits."""
        return row_length // self.block_size * self.block_bytes

    def num_bytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of a tensor whose last axis is the row."""
        return math.prod(shape[:-1]) * self.row_bytes(shape[-1])
