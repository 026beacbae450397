"""Completions as text: one stands alone, so that it can be piped on; several are numbered."""

from __future__ import annotations

from backprop.cli.style import Style, printable
from backprop.plan.generation.report import GenerationReport


def show(report: GenerationReport, style: Style) -> str:
    """The completions; the prompt is not repeated."""
    texts = [printable(completion.text) for completion in report.completions]
    if len(texts) == 1:
        return texts[0]
    titles = (style.dim(f"{number}/{len(texts)}") for number in range(1, len(texts) + 1))
    return "\n\n".join(f"{title}\n{text}" for title, text in zip(titles, texts, strict=True))
