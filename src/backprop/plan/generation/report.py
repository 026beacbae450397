"""What ``backprop generate`` gives back."""

from __future__ import annotations

import enum

import attrs

from backprop.plan.decision import Problem, warning


class Ending(enum.Enum):
    """Why a completion ends where it does."""

    STOP = "stop"
    """The model ended its text."""
    LENGTH = "length"
    """--max-new-tokens were written."""


@attrs.frozen
class Completion:
    """One answer; ``num_tokens`` counts the token that ended it."""

    text: str
    num_tokens: int
    ending: Ending


@attrs.frozen
class GenerationReport:
    """The completions and what they came from."""

    adapter: str | None
    """None when a whole model answered."""
    base: str
    prompt: str
    rendered_prompt: str
    """What the model was given, chat template included."""
    num_prompt_tokens: int
    temperature: float
    seed: int
    completions: tuple[Completion, ...]


def cut_short(report: GenerationReport) -> tuple[Problem, ...]:
    """A warning when completions reached --max-new-tokens before they ended."""
    cut = [c for c in report.completions if c.ending is Ending.LENGTH]
    if not cut:
        return ()
    of_all = "" if len(report.completions) == 1 else f" {len(cut)} of {len(report.completions)} times"
    message = f"The model had not finished after {cut[0].num_tokens} tokens{of_all}."
    return (warning("RUNTIME_GENERATION_CUT", message, where="--max-new-tokens"),)
