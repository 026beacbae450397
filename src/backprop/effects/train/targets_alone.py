"""On the processor, too, only the positions that are learned go through the LM head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from trl.trainer import utils as trl_utils

_SWITCH = "_use_triton"


@contextmanager
def targets_alone() -> Iterator[None]:
    """Let TRL's loss leave out the masked positions on the CPU, where it would score them and drop the scores.

    TRL scores every position on devices that recompile for each new shape; the CPU is none of them, and with a fifth
    of the tokens learned the head and its gradient cost a fifth. The loss is the same sum over the same positions.
    A TRL without the switch is left as it is.
    """
    original = getattr(trl_utils, _SWITCH, None)
    if original is None:
        yield
        return

    def leaves_out_masked(device: torch.device) -> bool:
        return device.type == "cpu" or bool(original(device))

    setattr(trl_utils, _SWITCH, leaves_out_masked)
    try:
        yield
    finally:
        setattr(trl_utils, _SWITCH, original)
