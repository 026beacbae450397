"""Whether what a training makes can be exported to GGUF, told before it is trained."""

from __future__ import annotations

from backprop.plan.decision import Decision
from backprop.plan.export.gguf.architectures import architecture_of
from backprop.plan.facts.model import ModelFacts, TokenizerFacts


def judge_gguf(model: ModelFacts, tokenizer: TokenizerFacts | None) -> Decision[bool]:
    """By the model's family and the tokenizer's way of cutting text; the export itself looks at everything."""
    architecture = architecture_of(model.model_type)
    if architecture is None:
        why = f"Only llama.cpp's own converter, with --llama-cpp-path, may know the family {model.model_type}."
        return Decision(False, "family", why)
    if tokenizer is not None and tokenizer.gguf_tokenizer is None:
        return Decision(False, "tokenizer", "llama.cpp has no tokenizer that cuts text as this one does.")
    known = f" and its tokenizer ({tokenizer.gguf_tokenizer})" if tokenizer and tokenizer.gguf_tokenizer else ""
    return Decision(True, "family", f"llama.cpp knows the family {architecture.name}{known}.")
