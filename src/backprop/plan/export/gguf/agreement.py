"""How far a quantized model may be from the one it was made of, and the prompts that tell."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from backprop.plan.decision import Problem, Severity
from backprop.plan.settings.verbs.export import Quantization

PROMPTS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("user", "What is the capital of France?"),),
    (("system", "Answer in one word."), ("user", "Which number follows 41?")),
    (("user", "Hello!"), ("assistant", "Hello, how can I help?"), ("user", "Write a haiku about the sea, in 2024.")),
)
"""(role, text) of each message; the assistant speaks next."""
_FLOORS: Mapping[Quantization, float] = {
    Quantization.F16: 0.999,
    Quantization.Q8_0: 0.98,
    Quantization.Q5_K_M: 0.95,
    Quantization.Q4_K_M: 0.9,
    Quantization.Q4_0: 0.85,
    Quantization.Q2_K: 0.5,
}
"""Cosines of next-token logits that a right conversion has exceeded on every model tried."""
_EXACT = frozenset({Quantization.F16, Quantization.Q8_0})
"""Types that round so little that a smaller cosine means a mistake, not coarseness."""


@attrs.frozen
class Agreement:
    """Next-token logits of two models, prompt by prompt."""

    cosines: tuple[float, ...]
    same_top: int
    """Prompts after which both find the same token the likeliest."""

    @property
    def sentence(self) -> str:
        """For a report."""
        num = len(self.cosines)
        return f"cosine {min(self.cosines):.6f} at least, the same top token after {self.same_top} of {num} prompts"


def judge(agreement: Agreement, quantization: Quantization) -> Problem | None:
    """An error when exact types disagree, a warning when coarse ones do, None when all is well."""
    worst, floor = min(agreement.cosines), _FLOORS[quantization]
    if worst >= floor:
        return None
    exact = quantization in _EXACT
    message = f"In llama.cpp the model computes something else: its logits have cosine {worst:.4f} with the original's."
    hint = "Please report the model." if exact else "Try a larger type: --quantization q8_0."
    severity = Severity.ERROR if exact else Severity.WARNING
    return Problem("RUNTIME_GGUF_EXPORT_FAILED", message, hint=hint, severity=severity)
