"""Where the tensors are, as far as it changes which of them there are."""

from __future__ import annotations

import enum


class Device(enum.Enum):
    """Whose kernels run, and with what around them."""

    CUDA = "cuda"
    """bf16 autocast where asked for, Triton kernels, cuBLAS's workspace."""
    CPU = "cpu"
    """No autocast: frozen weights compute in their own dtype, adapters in theirs (peft/tuners/lora/layer.py casts).
    No workspace. Where CUDA has a Triton kernel, torch operators with a temporary each."""
