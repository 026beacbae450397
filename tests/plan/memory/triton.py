"""What TRL's Triton kernels allocate on a card, where there is none."""

from __future__ import annotations

import pytest
from trl.kernels import chunked_logprob
from trl.trainer import utils


def stand_in_for_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what computes elsewhere than on a card, and computes otherwise there, by its allocations on a card."""
    monkeypatch.setattr(utils, "_use_triton", lambda _device: True)
    monkeypatch.setattr(chunked_logprob, "_forward_tile", lambda *_, **__: None)
    monkeypatch.setattr(chunked_logprob, "_backward_tile", lambda tile, *_, **__: tile.zero_())
    monkeypatch.setattr(chunked_logprob, "_addmm_fp32", lambda *_: None)
