"""Which code computes attention: named in the plan, because memory depends on it and libraries change their minds."""

from __future__ import annotations

from backprop.plan.decision import Decision
from backprop.plan.facts.model import ModelFacts
from backprop.plan.memory.attention import AttentionKernel, usable_kernel


def plan_attention(model: ModelFacts) -> Decision[AttentionKernel]:
    """The fused kernel, except where soft capping needs the scores themselves."""
    kernel = usable_kernel(AttentionKernel.SDPA, soft_caps=model.soft_caps_attention)
    if kernel is AttentionKernel.EAGER:
        why = "It caps the scores, which the fused kernel cannot; memory grows with the length squared."
        return Decision(kernel, model.model_type, why)
    return Decision(kernel, "default", "The fused kernel keeps no scores in memory.")
